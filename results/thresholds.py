"""PxAP of a summed pixel histogram."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


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
