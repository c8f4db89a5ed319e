"""Time of the statistics of a large table: ``python tests/benchmarks/statistics_scale.py [IMAGES RESAMPLES TRIPLES]``.

Records are random and held in memory (one array of histograms serves all triples), so that no disk is timed.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from cambench.protocol import PAPER
from cambench.results.scores.curves import HitReader
from cambench.results.scores.per_image import PIXELS, SINGLE, V2, PerImage
from cambench.results.statistics.resample import ResamplePlan, resampled_scores

COLUMNS = (
    *("correct", "degenerate", "boxed", "located", "top1"),
    *("drop", "increase", "gain", "evidence_precision"),
)


class MemoryRun:
    """What ``PerImage`` reads of a run: a manifest, and histograms in batches."""

    manifest = SimpleNamespace(protocol=PAPER, metrics={})

    def __init__(self, histograms: np.ndarray[Any, Any]) -> None:
        self._histograms = histograms

    def batches(self, triple: str, names: Sequence[str]) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        """The histograms, some thousand images at a time."""
        for start in range(0, len(self._histograms), 4096):
            yield {PIXELS: self._histograms[start : start + 4096]}


def records(images: int, triples: int) -> list[PerImage]:
    """Random records: hits over one stretch of levels a curve, four curves, nine columns, 2×1001 bins."""
    rng = np.random.default_rng(0)
    run: Any = MemoryRun(rng.poisson(25, (images, 2, 1001)).astype(np.uint16))
    everyone, levels = np.ones(images, bool), np.arange(256)
    reader = HitReader(np.full(images, 255), np.arange(0, 1, 0.001))
    found = []
    for number in range(triples):
        rows = {}
        for name in (*(f"{V2}{d}" for d in PAPER.iou_thresholds), SINGLE):
            start, width = rng.integers(0, 120, (images, 1)), rng.integers(20, 130, (images, 1))
            rows[name] = (np.packbits((levels >= start) & (levels < start + width), axis=-1), everyone)
        values = rng.random((images, len(COLUMNS)))
        values[:, COLUMNS.index("boxed")] = 1
        found.append(PerImage(run, f"t{number}", COLUMNS, values, reader.curves(rows), 0.2, True))
    return found


def main() -> None:
    """Time one bootstrap of all metrics of all triples."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("images", 50_000), ("resamples", 10_000), ("triples", 20)):
        parser.add_argument(name, type=int, nargs="?", default=default)
    given = parser.parse_args()
    images, resamples, triples = given.images, given.resamples, given.triples
    made = records(images, triples)
    resampled_scores(made[:1], ResamplePlan(images, 256, 1))
    wall, cpu = time.perf_counter(), time.process_time()
    found = resampled_scores(made, ResamplePlan(images, resamples, 0))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{images} images, {resamples} resamples, {triples} triples, {len(found[0])} metrics: {wall:.1f} s wall, ",
        end="",
    )
    print(f"{cpu:.1f} s CPU, peak {peak:.2f} GiB, load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
