"""The statistics of one run's tables while it goes on: those of a network are computed once."""

from __future__ import annotations

from collections.abc import Hashable

from ..scores.merge import Merged
from .standing import Standing, add_backbone, of_backbones


class KnownStanding:
    """Statistics of a run, each network's kept for as long as its triples and images stay the same.

    The records themselves must not change while this object lives.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[Hashable, Standing]] = {}

    def of(self, merged: Merged) -> Standing:
        """As ``standing`` with its defaults, of runs without a val run.

        Raises:
            RecordError: Records are damaged or cannot be scored.
        """
        whole = Standing()
        for backbone, triples in of_backbones(merged).items():
            key = (*triples, *(run.index.tobytes() for run in merged.runs))
            if self._known.get(backbone, ("", None))[0] != key:
                found = Standing()
                add_backbone(found, merged, backbone, triples)
                self._known[backbone] = key, found
            _add(whole, self._known[backbone][1])
        return whole


def _add(whole: Standing, part: Standing) -> None:
    whole.intervals.update(part.intervals)
    whole.changes.update(part.changes)
    whole.ranks.update(part.ranks)
    whole.tests.update(part.tests)
    whole.unbeaten.update(part.unbeaten)
