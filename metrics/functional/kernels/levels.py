"""Level curves of checked input: what ``boxes`` and ``pool`` build on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .engine import run_kernels

MAX_SIDE = 512
LEVELS = 256


class LevelIoUs(NamedTuple):
    """IoU of the boxes of {levels > l} with the ground truth, for l = 0 … 255.

    ``multi`` (B,256) float64: best over all contours (8-connected components, nested ones, holes with their grown
    boxes) and all ground-truth boxes. ``single`` (B,256) float64: the contour of largest polygon area, any
    ground-truth box. ``single_first`` (B,256) float64: the same contour, the first ground-truth box only.
    ``peak`` (B,) int64: the map's highest level. An image without ground-truth boxes has IoU 0 everywhere.
    """

    multi: Tensor
    single: Tensor
    single_first: Tensor
    peak: Tensor


def run(levels: Tensor, boxes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> LevelIoUs:
    """``level_ious`` of checked levels and joined boxes (M,4) with offsets (B+1,)."""
    array = np.ascontiguousarray(levels.detach().cpu().numpy())
    curves = np.empty((3, len(array), LEVELS))
    run_kernels(array, boxes, offsets, curves)
    peak = array.reshape(len(array), -1).max(1) if array.size else np.zeros(len(array), np.uint8)
    multi, single, single_first = torch.from_numpy(curves)
    return LevelIoUs(multi, single, single_first, torch.from_numpy(peak.astype(np.int64)))


def check_levels(levels: Tensor) -> None:
    """Raise unless ``levels`` is uint8 (B,H,W) with sides from 1 to 512."""
    if levels.dtype != torch.uint8:
        raise TypeError(f"level_ious: expected uint8 levels (see quantize), got {levels.dtype}")
    if levels.ndim != 3:
        raise ValueError(f"level_ious: expected levels of shape (B,H,W), got {tuple(levels.shape)}")
    if not all(1 <= side <= MAX_SIDE for side in levels.shape[1:]):
        raise ValueError(f"level_ious: sides must be 1 to {MAX_SIDE} pixels, got {tuple(levels.shape[1:])}")


def join_boxes(
    gt_boxes: Sequence[npt.NDArray[np.integer[Any]]], count: int, image_ids: Sequence[str] | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Ground-truth boxes of a batch as one int64 array (M,4) and offsets (B+1,), checked.

    Raises:
        TypeError: Boxes that are not integers; names the image.
        ValueError: Wrong number of images or shape; a negative coordinate, x1 < x0 or y1 < y0; names the image.
    """
    if len(gt_boxes) != count:
        raise ValueError(f"expected ground-truth boxes of {count} images, got {len(gt_boxes)}")
    arrays = [_as_rows(boxes, i, image_ids) for i, boxes in enumerate(gt_boxes)]
    offsets = np.zeros(count + 1, np.int64)
    np.cumsum([len(a) for a in arrays], out=offsets[1:])
    joined = np.concatenate(arrays).astype(np.int64, copy=False) if arrays else np.zeros((0, 4), np.int64)
    bad = (joined < 0).any(1) | (joined[:, 2] < joined[:, 0]) | (joined[:, 3] < joined[:, 1])
    if bad.any():
        row = int(bad.argmax())
        image = int(np.searchsorted(offsets, row, side="right")) - 1
        raise ValueError(
            f"{_name(image, image_ids)}: ground-truth box {row - offsets[image]} is {joined[row].tolist()}; expected "
            "0 <= x0 <= x1 and 0 <= y0 <= y1 (x0, y0, x1, y1 in pixels of the map)"
        )
    return np.ascontiguousarray(joined), offsets


def _as_rows(boxes: object, image: int, image_ids: Sequence[str] | None) -> npt.NDArray[np.integer[Any]]:
    array = boxes.detach().cpu().numpy() if isinstance(boxes, Tensor) else np.asarray(boxes)
    if array.size == 0:
        return np.zeros((0, 4), np.int64)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{_name(image, image_ids)}: expected boxes of shape (K,4), got {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{_name(image, image_ids)}: boxes must be integers, truncated by int(coordinate * R / image size), "
            f"got {array.dtype}"
        )
    return array


def _name(image: int, image_ids: Sequence[str] | None) -> str:
    return f"image {image_ids[image]!r}" if image_ids is not None else f"image {image} of the batch"
