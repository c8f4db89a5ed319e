"""Ranks with ties: who is significantly better than whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from .bootstrap import Bootstrap
from .paired import ALPHA, differences


def ranks(
    boot: Bootstrap, metric: str, entries: Sequence[str] | None = None, *, alpha: float = ALPHA
) -> dict[str, int]:
    """Rank of each entry in a metric: 1 + the number of entries that are significantly better.

    Entries without a significant difference to anything between them share a rank; Holm's correction is over the pairs
    of this metric.

    Args:
        boot: Scores and resamples. metric: A ranked metric. entries: Those that compete (default: all that have it).
        alpha: Significance level.

    Raises:
        KeyError: No such metric, or one that has no best value.
    """
    return places(_competing(boot, metric, entries), victories(boot, metric, entries, alpha=alpha))


def places(entries: Sequence[str], won: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Rank of each entry, given the pairs (winner, loser) of ``victories``."""
    beaten = dict.fromkeys(entries, 0)
    for _, loser in won:
        beaten[loser] += 1
    return {entry: 1 + count for entry, count in beaten.items()}


def victories(
    boot: Bootstrap, metric: str, entries: Sequence[str] | None = None, *, alpha: float = ALPHA
) -> list[tuple[str, str]]:
    """Pairs (winner, loser) whose difference in a metric is significant; arguments and errors as in ``ranks``."""
    if not any(m.name == metric and m.ranked for m in boot.metrics):
        known = ", ".join(m.name for m in boot.metrics if m.ranked)
        raise KeyError(f"no ranked metric {metric!r}; known: {known}")
    pairs = list(combinations(_competing(boot, metric, entries), 2))
    found = []
    for one in differences(boot, pairs, metrics=[metric]):
        verdict = one.verdict(alpha)
        if verdict:
            found.append((one.second, one.first) if verdict == "better" else (one.first, one.second))
    return found


def _competing(boot: Bootstrap, metric: str, entries: Sequence[str] | None) -> list[str]:
    return [e for e in (boot.entries if entries is None else entries) if metric in boot.points[e]]
