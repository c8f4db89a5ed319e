"""How fast images are decoded here by how many threads: what a number of threads can be chosen by."""

from __future__ import annotations

import os
import time

from ..schema import SampleTable
from .loading import load_batches

MOST = 16
"""Threads that are tried at most."""
IMAGES = 32
"""Images that are decoded for each number of threads."""
NEARLY = 0.95
"""Part of the best rate that is as good as the best."""


def decoding_rates(table: SampleTable, size: int, crop_from: int | None = None) -> dict[int, float]:
    """Images/s that 1, 2, 4 … threads decode, up to one more step than there are cores.

    All decode the same images of the table, spread over it, which one thread has read before: it is the decoding that
    is measured, and a disk that is slower than it is not.

    Args:
        table: The split; not empty.
        size: Working size R in pixels.
        crop_from: As of ``load_batches``.
    """
    step = max(1, len(table) // IMAGES)
    rows = range(0, len(table), step)[:IMAGES]
    list(load_batches(table, rows, size, IMAGES, 1, crop_from=crop_from))
    found, threads = dict[int, float](), 1
    while threads <= MOST and threads <= 2 * (os.cpu_count() or 1):
        begun = time.perf_counter()
        list(load_batches(table, rows, size, max(1, len(rows) // 4), threads, crop_from=crop_from))
        found[threads] = len(rows) / (time.perf_counter() - begun)
        threads *= 2
    return found


def fewest(rates: dict[int, float]) -> int:
    """The smallest number whose rate is nearly the best."""
    return min(number for number, rate in rates.items() if rate >= NEARLY * max(rates.values()))
