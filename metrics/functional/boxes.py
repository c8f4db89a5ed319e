"""Boxes of a map at every threshold at once: the IoU of its contours with the ground truth, exactly as published.

A threshold τ keeps the pixels above the integer level int(τ·peak), so every curve over τ is a function of at most 256
levels. ``level_ious`` computes them all in one go, on the CPU or on the device where the maps are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .kernels.levels import LevelIoUs, check_levels, join_boxes
from .kernels.maps_cpu import to_levels
from .maps import min_max, resize_maps
from .no_contour import run_rule
from .pool import BoxPool

__all__ = ["BoxPool", "LevelIoUs", "join_boxes", "level_ious", "quantize", "quantize_levels"]


def quantize(norm: Tensor) -> Tensor:
    """Levels uint8 of normalised maps: floor(255·v), truncated in the map's own float64.

    Args:
        norm: Normalised maps float64 in [0, 1], any shape and device.

    Raises:
        TypeError: Another dtype; float32 would flip levels.
        ValueError: On the CPU, a value outside [0, 1] or NaN (a check on another device would stall it).

    Source: wsolevaluation, ``(scoremap * 255).astype(np.uint8)``.

    Examples:
        >>> import torch
        >>> quantize(torch.tensor([0.0, 0.2, 1.0], dtype=torch.float64))
        tensor([  0,  51, 255], dtype=torch.uint8)
    """
    if norm.dtype != torch.float64:
        raise TypeError(f"quantize: expected float64 maps (float32 flips levels), got {norm.dtype}")
    if norm.device.type == "cpu":
        levels = torch.empty(norm.shape, dtype=torch.uint8)
        if to_levels(norm.detach().contiguous().view(-1).numpy(), levels.view(-1).numpy()):
            low, high = (float(v) for v in torch.aminmax(norm))
            raise ValueError(f"quantize: expected maps in [0, 1] (see min_max), got values from {low} to {high}")
        return levels
    return (norm * 255).to(torch.uint8)


def quantize_levels(low_res_maps: Tensor, size: int = 224) -> Tensor:
    """Levels uint8 (B,R,R) of raw maps (B,h,w): bicubic resize, min-max, floor(255·), all in float64.

    Degenerate maps (constant, NaN, infinity) have level 0 everywhere.

    Args:
        low_res_maps: Raw maps (B,h,w), any floating dtype and device.
        size: Side R in pixels.

    Raises:
        ValueError: Wrong shape or size.

    Examples:
        >>> import torch
        >>> levels = quantize_levels(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), size=4)
        >>> levels.shape, int(levels.max())
        (torch.Size([1, 4, 4]), 255)
    """
    norm, _ = min_max(resize_maps(low_res_maps, size, "bicubic"))
    return quantize(norm)


def level_ious(
    levels: Tensor,
    gt_boxes: Sequence[npt.NDArray[np.integer[Any]]],
    image_ids: Sequence[str] | None = None,
    *,
    no_contour: str = "zero",
    engine: str = "auto",
) -> LevelIoUs:
    """IoU with the ground truth at every level of every map of a batch.

    Boxes follow the published rules: right and bottom edges are exclusive, then clipped to the map; the IoU is
    inclusive (+1); where nothing is above a level, the box is [0, 0, 0, 0].

    Args:
        levels: uint8 (B,H,W), H and W at most 512, on any device.
        gt_boxes: B integer arrays (K,4) of x0, y0, x1, y1 in pixels of the map; K may be 0 (IoU 0). A box that ends
            beyond the image is kept as published.
        image_ids: Names for messages.
        no_contour: ``zero``, or ``whole`` (``whole_where_empty``).
        engine: ``cpu``: compiled kernels; a device batch is copied to the host in one transfer, and the curves are
            CPU tensors. ``tensor``: batched tensor operations on the levels' device, where the curves stay; equal to
            the bit. ``triton``: the same as one fused program a map, on CUDA (on the CPU under Triton's interpreter).
            ``auto``: ``cpu`` for maps on the CPU, ``tensor`` on accelerators that have float64.

    Raises:
        TypeError: Levels that are not uint8, or boxes that are not integers.
        ValueError: Wrong shapes, or a box with a negative coordinate, x1 < x0 or y1 < y0 (names the image); an
            unknown engine, or one that the device cannot run.

    Source: wsolevaluation, ``compute_bboxes_from_scoremaps`` and ``calculate_multiple_iou``; SEMANTICS §3.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> levels = torch.zeros(1, 8, 8, dtype=torch.uint8)
        >>> levels[0, 2:5, 1:6] = 200
        >>> curves = level_ious(levels, [np.array([[1, 2, 6, 5]])])
        >>> float(curves.single[0, 199]), float(curves.single[0, 200]), int(curves.peak)
        (1.0, 0.0, 200)
    """
    check_levels(levels)
    boxes, offsets = join_boxes(gt_boxes, len(levels), image_ids)
    return run_rule(levels, boxes, offsets, no_contour, engine)
