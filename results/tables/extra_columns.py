"""Columns of a score table beside its metrics: each is one entry here, which ``--columns`` then knows by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...triple import Triple
from ..scores.merge import Merged
from .naming import cam_cost

COST, MEASURED = "cost", "measured"
CHEAP = ("", "0 forwards", "1 forward", "1 forward + 1 head backward")
"""Declared costs that every method of the shared pass has: no column is spent on them."""
CLOCK = 0.05
"""Share by which measured costs may differ and count as equal on a front: that much another measurement may change."""


def _always(_merged: Merged, _triples: Sequence[Triple]) -> bool:
    return True


def _never(_merged: Merged, _triples: Sequence[Triple]) -> bool:
    return False


@dataclass(frozen=True)
class ExtraColumn:
    """A column that shows something else than a score.

    Attributes:
        name: What ``--columns`` calls it.
        head: What stands over it.
        text: A triple's cell.
        of_method: One cell for all rows of a method, whatever their head.
        known: Whether the records of some of these triples say anything of it.
        matters: Whether the compact layout shows it unasked.
        times: It shows times, which differ from run to run: only where measurements were asked for.
    """

    name: str
    head: str
    text: Callable[[Merged, Triple], str]
    of_method: bool = False
    known: Callable[[Merged, Sequence[Triple]], bool] = _always
    matters: Callable[[Merged, Sequence[Triple]], bool] = _never
    times: bool = False


def map_forwards(merged: Merged, triple: str) -> float | None:
    """What a triple's map was measured to cost, in forwards."""
    manifest = merged.manifest(triple)
    timing = manifest.timings.triples.get(manifest.canonical(triple))
    return None if timing is None else timing.map_forwards


def _declared(merged: Merged, triple: Triple) -> str:
    return cam_cost(merged.manifest(triple), triple.backbone, triple.cam)


def _measured(merged: Merged, triple: Triple) -> str:
    forwards = map_forwards(merged, triple)
    return "–" if forwards is None else f"{forwards:.2f}"


def _dear(merged: Merged, triples: Sequence[Triple]) -> bool:
    return any(_declared(merged, triple) not in CHEAP for triple in triples)


def _timed(merged: Merged, triples: Sequence[Triple]) -> bool:
    return any(map_forwards(merged, triple) is not None for triple in triples)


EXTRA_COLUMNS = (
    ExtraColumn(COST, "Cost", lambda merged, triple: _declared(merged, triple) or "–", of_method=True, matters=_dear),
    ExtraColumn(MEASURED, "measured, forwards", _measured, known=_timed, matters=_dear, times=True),
)
"""All of them, in the order of the table, after its metrics."""
