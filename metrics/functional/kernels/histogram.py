"""CPU kernel of the pixel histograms: one pass over the pixels, exact bins without a table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....jit import kernel

Cells = npt.NDArray[np.int32]

GOOD, BAD_SCORE, BAD_MASK = 0, 1, 2


CHUNK = 2048
WAYS = 4
"""Histograms counted side by side: neighbouring pixels share a bin, and adding to one counter twice would stall."""


@kernel
def bin_chunk(
    scores: npt.NDArray[np.float64], masks: npt.NDArray[np.uint8], multiply: bool, last_edge: int, index: Cells
) -> int:
    """Bin of every pixel of a chunk: 2·bin + class, or 2·(last_edge + 2) where ignored; returns GOOD or what is wrong.

    Edge k is k·0.001 if ``multiply``, else k / 1000; a score of 1 falls into the bin above edge ``last_edge``.
    """
    bad_score, bad_mask = np.int32(0), np.int32(0)
    ignored, last = 2.0 * (last_edge + 2), float(last_edge)
    for p in range(len(scores)):
        s, m = scores[p], np.int32(masks[p])
        inside = (s >= 0.0) & (s <= 1.0)
        bad_score |= np.int32(not inside)
        bad_mask |= np.int32((m > 1) & (m != 255))
        # In floating point throughout, which the compiler turns into vector code.
        k = np.floor((s if inside else 0.0) * 1000.0)
        # The product may round across an edge in either direction.
        below = k * 0.001 if multiply else k / 1000.0
        above = (k + 1.0) * 0.001 if multiply else (k + 1.0) / 1000.0
        k = k + (1.0 if s >= above else 0.0) - (1.0 if s < below else 0.0)
        k = last if s == 1.0 else k
        index[p] = np.int32(ignored if m > 1 else 2.0 * k + m)
    if bad_score:
        return BAD_SCORE
    return BAD_MASK if bad_mask else GOOD


@kernel
def count_pixels(
    scores: npt.NDArray[np.float64],
    masks: npt.NDArray[np.uint8],
    multiply: bool,
    last_edge: int,
    counts: npt.NDArray[np.int64],
    status: npt.NDArray[np.int64],
) -> None:
    """Add the pixels of maps (B,P) to ``counts`` (B,2,K); ``status`` (B,) says what is wrong with an image."""
    size, bins = scores.shape[1], last_edge + 2
    index = np.empty(CHUNK, np.int32)
    ways = np.empty((WAYS, 2 * bins + 1), np.int64)
    first, second, third, fourth = ways[0], ways[1], ways[2], ways[3]
    for b in range(scores.shape[0]):
        status[b] = GOOD
        ways[:] = 0
        for begin in range(0, size, CHUNK):
            end = min(begin + CHUNK, size)
            found = bin_chunk(scores[b, begin:end], masks[b, begin:end], multiply, last_edge, index)
            if found != GOOD:
                status[b] = found
                break
            whole = (end - begin) // WAYS * WAYS
            for p in range(0, whole, WAYS):
                first[index[p]] += 1
                second[index[p + 1]] += 1
                third[index[p + 2]] += 1
                fourth[index[p + 3]] += 1
            for p in range(whole, end - begin):
                first[index[p]] += 1
        for k in range(bins):
            for m in range(2):
                at = 2 * k + m
                counts[b, m, k] += first[at] + second[at] + third[at] + fourth[at]
