"""Shared by the box kernels: the published boxes of contours and their IoU with ground truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....jit import kernel

Ints = npt.NDArray[np.int64]


class LevelCurves(NamedTuple):
    """Level curves (256,) of one map, which a kernel fills: best IoU of all contours, of the largest one, and of the
    largest one with the first box."""

    multi: npt.NDArray[np.float64]
    single: npt.NDArray[np.float64]
    single_first: npt.NDArray[np.float64]


@kernel
def best_iou(x0: int, y0: int, x1: int, y1: int, gt: Ints) -> float:
    """Best inclusive IoU of one box with those of ``gt`` (M,4); 0.0 where there is none.

    IoU = I / (A + B − I) with widths x1 − x0 + 1 (wsolevaluation, ``calculate_multiple_iou``).
    """
    best = 0.0
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    for g in range(len(gt)):
        w = min(x1, gt[g, 2]) - max(x0, gt[g, 0]) + 1
        h = min(y1, gt[g, 3]) - max(y0, gt[g, 1]) + 1
        if w > 0 and h > 0:
            inter = w * h
            other = (gt[g, 2] - gt[g, 0] + 1) * (gt[g, 3] - gt[g, 1] + 1)
            best = max(best, inter / (area + other - inter))
    return best


@kernel
def component_iou(x0: int, y0: int, x1: int, y1: int, h: int, w: int, gt: Ints) -> float:
    """IoU of the box of a foreground component with inclusive bounds: right and bottom grow by 1, then clip."""
    return best_iou(x0, y0, min(x1 + 1, w - 1), min(y1 + 1, h - 1), gt)


@kernel
def hole_iou(x0: int, y0: int, x1: int, y1: int, h: int, w: int, gt: Ints) -> float:
    """IoU of the box of a hole with inclusive bounds: OpenCV's hole contour runs on the foreground around it."""
    return best_iou(x0 - 1, y0 - 1, min(x1 + 2, w - 1), min(y1 + 2, h - 1), gt)
