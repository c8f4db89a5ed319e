"""From hit bits per level to counts per threshold τ, and from pixel histograms to PxAP."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def taus(grid: str) -> Floats:
    """Thresholds τ of a protocol's grid: 0, .001 … .999 (``arange1000``) or 0, .001 … 1 (``linspace1001``)."""
    if grid == "arange1000":
        return np.arange(0, 1, 0.001)
    return np.round(np.arange(1001) * 0.001, 3)


def hit_counts(
    bits: npt.NDArray[Any], peak: npt.NDArray[Any], grid: Floats, counted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Images (…, τ) that are hit at every threshold, of bits (n, …, 32) per level and peaks (n,).

    At τ a map keeps the pixels above level int(τ·peak), so the images of one peak share their levels.
    """
    counts = np.zeros((*bits.shape[1:-1], len(grid)), dtype=np.int64)
    for value in np.unique(peak[counted]):
        chosen = counted & (peak == value)
        per_level = np.unpackbits(bits[chosen], axis=-1).sum(axis=0, dtype=np.int64)
        counts += per_level[..., (grid * int(value)).astype(np.int64)]
    return counts


def pxap(histogram: npt.NDArray[Any]) -> float:
    """Pixel average precision in percent of a histogram (2,K): background and object pixels per ascending bin.

    PxAP = 100·Σ P_i·(R_i − R_{i−1}) over descending thresholds with tp + fp ≠ 0.

    Source: Choe et al., CVPR 2020, Eq. 5; wsolevaluation's ``MaskEvaluator``.
    """
    positives = np.cumsum(histogram[:, ::-1], axis=1, dtype=np.int64)
    background, foreground = positives
    if not foreground[-1]:
        raise ValueError("PxAP: no object pixel in any mask")
    kept = (foreground + background) > 0
    precision = foreground[kept] / (foreground + background)[kept]
    recall = foreground[kept] / foreground[-1]
    return float(100 * np.sum(precision[1:] * np.diff(recall)))
