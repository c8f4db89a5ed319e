"""Ranks with ties: who is significantly better than whom."""

from __future__ import annotations

from collections.abc import Sequence

from .bootstrap import Bootstrap
from .paired import ALPHA, Difference, differences


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
    if not any(m.name == metric and m.ranked for m in boot.metrics):
        known = ", ".join(m.name for m in boot.metrics if m.ranked)
        raise KeyError(f"no ranked metric {metric!r}; known: {known}")
    chosen = [e for e in (boot.entries if entries is None else entries) if metric in boot.points[e]]
    pairs = [(a, b) for i, a in enumerate(chosen) for b in chosen[i + 1 :]]
    beaten = dict.fromkeys(chosen, 0)
    for difference in differences(boot, pairs, metrics=[metric]):
        loser = _loser(difference, alpha)
        if loser is not None:
            beaten[loser] += 1
    return {entry: 1 + count for entry, count in beaten.items()}


def _loser(difference: Difference, alpha: float) -> str | None:
    verdict = difference.verdict(alpha)
    if not verdict:
        return None
    return difference.first if verdict == "better" else difference.second
