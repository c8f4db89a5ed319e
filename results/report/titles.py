"""What a report calls networks, methods and heads: their titles, and the names behind those that share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ...triple import Triple
from ..scores.merge import Merged
from ..tables.naming import BASE_HEAD, backbone_title, cam_title, head_title


@dataclass(frozen=True)
class Titles:
    """Names -> what readers see; of several names none is seen as another.

    Attributes:
        backbones, cams, heads: Name -> title.
    """

    backbones: Mapping[str, str]
    cams: Mapping[str, str]
    heads: Mapping[str, str]

    @classmethod
    def of(cls, merged: Merged) -> Titles:
        """Those of the triples of a table."""
        found: tuple[dict[str, str], dict[str, str], dict[str, str]] = ({}, {}, {})
        for triple in merged.triples:
            manifest = merged.manifest(triple)
            found[0].setdefault(triple.backbone, backbone_title(manifest, triple.backbone))
            found[1].setdefault(triple.cam, cam_title(manifest, triple.cam))
            found[2].setdefault(triple.head, head_title(manifest, triple.head))
        found[2].setdefault(BASE_HEAD, head_title(merged.runs[0].manifest, BASE_HEAD))
        return cls(*map(_apart, found))

    def row(self, triple: Triple, *, control: bool) -> str:
        """A method with its head; a control has none that matters."""
        cam = self.cams[triple.cam]
        return cam if control else f"{cam} with {self.heads[triple.head]}"


def _apart(titles: Mapping[str, str]) -> dict[str, str]:
    often = Counter(titles.values())
    return {name: title if often[title] == 1 else f"{title} ({name})" for name, title in titles.items()}
