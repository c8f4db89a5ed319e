"""Triples of maps made elsewhere: which ones a request means, and their plan where no network stands behind them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ....triple import Triple
from ...host.errors import UsageError
from ...maps import MAPS
from .alternatives import split_pattern
from .config import RunConfig

HEAD = "softmax"
"""Maps made elsewhere know no head; they are listed under this one, as controls are."""


@dataclass(frozen=True)
class GivenTriples:
    """A request's patterns, with maps made elsewhere told from what cambench computes.

    Attributes:
        patterns: Patterns of what cambench computes.
        behind: (pattern of a backbone, name of the maps) that were named in the triples.
        everywhere: Names of maps that no triple names: scored under every backbone of the run.
        bare: Names of maps that are scored without a network.
    """

    patterns: tuple[str, ...]
    behind: tuple[tuple[str, str], ...] = ()
    everywhere: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()

    def of_backbones(self, backbones: Collection[str]) -> list[Triple]:
        """The triples of maps under the backbones of a run, in order, without repeats.

        Backbones that only a triple of maps names are no part of ``backbones`` and must be named in full.
        """
        found: dict[Triple, None] = {}
        for pattern, name in self.behind:
            names = [b for b in backbones if fnmatchcase(b, pattern)] or ([] if _is_glob(pattern) else [pattern])
            if not names:
                raise UsageError(
                    f"no triple of the run has a backbone like {pattern!r}, which {pattern}/{name} asks for"
                )
            found |= {Triple(b, name, HEAD): None for b in names}
        found |= {Triple(b, name, HEAD): None for name in self.everywhere for b in backbones}
        return list(found)

    @property
    def bare_triples(self) -> list[Triple]:
        """The triples of maps without a network."""
        return [Triple(MAPS, name, HEAD) for name in self.bare]


def given_triples(config: RunConfig) -> GivenTriples:
    """What a request says of its maps.

    Raises:
        UsageError: No triple; one that names maps under another head, or ``maps/…`` of a name that has none.
    """
    if not config.triples and not config.maps:
        raise UsageError("no triple is asked for; say which, as in --triples 'slim_resnet/gradcam/*'")
    if not config.maps and not any(p.startswith(f"{MAPS}/") for p in config.triples):
        return GivenTriples(config.triples)
    if config.maps and "triples" not in config.model_fields_set:
        return GivenTriples((), bare=tuple(config.maps))
    patterns: list[str] = []
    behind, bare = dict[tuple[str, str], None](), dict[str, None]()
    for pattern in config.triples:
        plain = split_pattern(pattern)
        mine = [t for t in plain if t.cam in config.maps or t.backbone == MAPS]
        if not mine:
            patterns.append(pattern)
            continue
        patterns += [str(t) for t in plain if t not in mine]
        for triple in mine:
            names = _names(triple, config.maps)
            if triple.backbone == MAPS:
                bare |= dict.fromkeys(names)
            else:
                behind |= {(triple.backbone, name): None for name in names}
    named = {name for _, name in behind} | set(bare)
    everywhere = tuple(name for name in config.maps if name not in named)
    if everywhere and not patterns and not behind:
        raise UsageError(
            f"--maps {', '.join(everywhere)}: no triple names them; write --triples '{MAPS}/{everywhere[0]}/{HEAD}' "
            f"for their scores without a network, or BACKBONE/{everywhere[0]}/{HEAD} for their fidelity to one"
        )
    return GivenTriples(tuple(patterns), tuple(behind), everywhere, tuple(bare))


def _names(triple: Triple, maps: Mapping[str, Path]) -> list[str]:
    names = [name for name in maps if fnmatchcase(name, triple.cam)]
    if not names:
        known = f"given are {', '.join(maps)}" if maps else f"give them with --maps {triple.cam}=DIR"
        raise UsageError(f"triple {triple}: there are no maps called {triple.cam!r}; {known}")
    if not fnmatchcase(HEAD, triple.head):
        raise UsageError(f"triple {triple}: maps made elsewhere depend on no head; write {triple.but(head=HEAD)}")
    return names


def _is_glob(pattern: str) -> bool:
    return any(c in pattern for c in "*?[")
