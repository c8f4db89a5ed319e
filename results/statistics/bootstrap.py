"""Scores with confidence intervals: the image bootstrap of any triples over the same images."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from ..records.load import Run
from ..records.record_errors import RecordError
from ..scores.per_image import Floats, PerImage, read_per_image
from ..scores.shown import METRICS, Metric, extra_metrics
from ..scores.val_run import val_mismatch
from .intervals import LEVEL, RESAMPLES, Interval, bootstrap_interval
from .resample import ResamplePlan, resampled_scores, usable_cores

SHARES = frozenset(metric.name for metric in METRICS)
"""Scores of ours, all of which are shares in percent; one of another package may be anything."""


@dataclass(frozen=True)
class Entry:
    """One thing that is compared: a triple of a run, under a name that is its own.

    Attributes:
        name: Label in tables. run: Its records. triple: A triple with records.
        val: Records of the val split, for a protocol whose location threshold is chosen there.
    """

    name: str
    run: Run
    triple: str
    val: Run | None = None


@dataclass(frozen=True)
class Bootstrap:
    """Scores of entries over the same n images, and of the same resamples of these images.

    Attributes:
        entries: In table order; several may share records (aliases). metrics: Those that an entry has, in table order.
        records: Entry -> its reduced records. points: Entry -> metric -> score.
        samples: Entry -> metric -> scores (S,) of the resamples, NaN where one has none.
        plan: The resamples.
    """

    entries: tuple[str, ...]
    metrics: tuple[Metric, ...]
    records: dict[str, PerImage]
    points: dict[str, dict[str, float]]
    samples: dict[str, dict[str, Floats]]
    plan: ResamplePlan

    def interval(self, entry: str, metric: str, level: float = LEVEL) -> Interval:
        """Confidence interval of an entry's score; what lies outside 0 to 100 % is cut off where no score can be."""
        found = bootstrap_interval(self.samples[entry][metric], self.points[entry][metric], level)
        return replace(found, low=max(found.low, 0.0), high=min(found.high, 100.0)) if metric in SHARES else found

    def intervals(self, level: float = LEVEL) -> dict[str, dict[str, Interval]]:
        """All intervals: entry -> metric -> interval."""
        return {e: {m: self.interval(e, m, level) for m in self.points[e]} for e in self.entries}


def bootstrap(
    entries: Sequence[Entry], *, resamples: int = RESAMPLES, seed: int = 0, threads: int | None = None
) -> Bootstrap:
    """Score entries and resamples of their images; the same seed gives the same result on any number of threads.

    Args:
        entries: Triples over the same images in the same order (``compare`` sees to that).
        resamples: Number of resamples. seed: Of the draws. threads: Worker threads (default: all usable cores).

    Raises:
        ValueError: No entry, a name that occurs twice, fewer than two resamples.
        RecordError: The entries are not over the same images, their records cannot be scored, a val run does not fit.
    """
    names = [e.name for e in entries]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"expected entries of different names, got {names}")
    if resamples < 2:
        raise ValueError(f"{resamples} resamples: expected at least 2")
    index = entries[0].run.index
    for entry in entries[1:]:
        if not np.array_equal(entry.run.index, index):
            raise RecordError(f"{entries[0].name} and {entry.name} are not over the same images")
    for entry in entries:
        mismatch = "" if entry.val is None else val_mismatch(entry.run, entry.val, [entry.triple])
        if mismatch:
            raise RecordError(mismatch)
    # Aliases share records: read and resampled once.
    keys = {e.name: (str(e.run.out), e.run.manifest.canonical(e.triple)) for e in entries}
    first = {key: e for e in reversed(entries) for key in [keys[e.name]]}
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        parts = pool.map(lambda item: read_per_image(item[1].run, item[0][1], item[1].val), first.items())
        read = dict(zip(first, parts, strict=True))
    plan = ResamplePlan(len(index), resamples, seed)
    sampled = dict(zip(read, resampled_scores(list(read.values()), plan, threads), strict=True))
    points = {key: one.point() for key, one in read.items()}
    metrics = {m.name: m for m in METRICS}
    for entry in entries:
        metrics |= {m.name: m for m in extra_metrics(entry.run, [entry.triple])}
    found = {name for one in points.values() for name in one}
    return Bootstrap(
        entries=tuple(names),
        metrics=tuple(m for name, m in metrics.items() if name in found),
        records={n: read[keys[n]] for n in names},
        points={n: points[keys[n]] for n in names},
        samples={n: sampled[keys[n]] for n in names},
        plan=plan,
    )


def bootstrap_run(
    run: Run,
    triples: Sequence[str] | None = None,
    *,
    val: Run | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    threads: int | None = None,
) -> Bootstrap:
    """``bootstrap`` of a run's triples (default: all that have records) under their own names."""
    entries = [Entry(t, run, t, val) for t in (run.triples if triples is None else triples)]
    if not entries:
        raise RecordError(f"{run.out}: no triple has records")
    return bootstrap(entries, resamples=resamples, seed=seed, threads=threads)
