"""The evaluator's rules that bring boxes and masks to the working size R (SEMANTICS §3, §4), in one place."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def resize_boxes(
    boxes: Sequence[Sequence[float]], width: int, height: int, size: int, crop_from: int | None = None
) -> npt.NDArray[np.int64]:
    """Boxes (K,4) x0,y0,x1,y1 of a ``width`` × ``height`` image in R-pixel coordinates, int64.

    ``int(coordinate * R / image size)``: each coordinate in float64, truncated towards zero (wsolevaluation,
    ``data_loaders.py``/``util.py``, Choe et al. 2020). Nothing is clipped: boxes beyond the image stay there.

    With ``crop_from`` S, the coordinates in the central R×R of S×S (Rethinking CAM, ``datasets.py``, Bae et al. 2020):
    ``int(coordinate / image size * S - (S - R) / 2)``, clipped to the crop. That code leaves x0, y0 behind the crop and
    x1, y1 before it, which makes boxes of negative width; ours become lines at the edge.
    """
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    image = np.array([width, height, width, height], dtype=np.float64)
    if crop_from is None:
        moved = array * float(size) / image
    else:
        moved = (array / image * float(crop_from) - (crop_from - size) // 2).clip(0, size - 1)
    truncated: npt.NDArray[np.int64] = np.empty(array.shape, np.int64)
    np.copyto(truncated, np.trunc(moved), casting="unsafe")
    return truncated


def centre(pixels: npt.NDArray[Any], size: int) -> npt.NDArray[Any]:
    """The central R×R of pixels (S,S,…); they themselves where S is R."""
    margin = (len(pixels) - size) // 2
    return pixels[margin : margin + size, margin : margin + size]


def nearest_indices(length: int, size: int) -> npt.NDArray[np.int64]:
    """Source index of each of ``size`` targets along an axis of ``length`` pixels: OpenCV's INTER_NEAREST.

    ``floor(i / (size/length))`` with the two divisions in float64, as OpenCV does them; not Pillow's pixel centres.
    """
    scale = 1.0 / (size / length)
    indices: npt.NDArray[np.int64] = np.floor(np.arange(size) * scale).astype(np.int64).clip(max=length - 1)
    return indices


def resize_nearest(mask: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Mask (H,W) at (R,R), uint8, nearest neighbour as OpenCV's INTER_NEAREST."""
    rows, columns = nearest_indices(mask.shape[0], size), nearest_indices(mask.shape[1], size)
    return np.ascontiguousarray(mask[rows[:, None], columns])


def combine_masks(
    instances: Iterable[npt.NDArray[np.uint8]], ignore: npt.NDArray[np.uint8] | None, size: int
) -> npt.NDArray[np.uint8]:
    """One mask (R,R) uint8 of {0, 1, 255}: union of the instances (> 0.5 after the resize), ignore ∧ ¬foreground = 255.

    Source: wsolevaluation, ``evaluation.py`` ``get_mask``.
    """
    foreground = np.zeros((size, size), dtype=bool)
    for instance in instances:
        foreground |= resize_nearest(instance, size) > 0
    combined = foreground.astype(np.uint8)
    if ignore is not None:
        combined[(resize_nearest(ignore, size) > 0) & ~foreground] = 255
    return combined
