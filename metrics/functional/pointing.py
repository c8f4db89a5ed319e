"""The pointing game, and its energy-based variant, on boxes or masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .fidelity import evidence_precision
from .host_copies import upload
from .kernels.levels import join_boxes


def box_regions(gt_boxes: Sequence[npt.NDArray[np.integer[Any]]], size: int, device: torch.device) -> Tensor:
    """Union of an image's boxes as bool (B,R,R); right and bottom edges belong to a box.

    Args:
        gt_boxes: An integer array (K,4) an image: x0, y0, x1, y1 in pixels of the map.
        size: Side R of the map in pixels.
        device: Where the regions are made.

    Raises:
        TypeError: Boxes that are not integers.
        ValueError: An impossible box; names the image.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> box_regions([np.array([[0, 0, 1, 0]])], 3, torch.device("cpu")).int()
        tensor([[[1, 1, 0],
                 [0, 0, 0],
                 [0, 0, 0]]], dtype=torch.int32)
    """
    boxes, offsets = join_boxes(gt_boxes, len(gt_boxes))
    image = torch.from_numpy(np.repeat(np.arange(len(gt_boxes)), np.diff(offsets)))
    x0, y0, x1, y1 = upload(torch.from_numpy(boxes), device).unbind(1)
    at = torch.arange(size, device=device)
    columns = (at >= x0[:, None]) & (at <= x1[:, None])
    rows = (at >= y0[:, None]) & (at <= y1[:, None])
    regions = torch.zeros((len(gt_boxes), size, size), dtype=torch.int32, device=device)
    regions.index_add_(0, upload(image, device), (rows[:, :, None] & columns[:, None, :]).to(torch.int32))
    return regions > 0


def pointing_hits(maps: Tensor, regions: Tensor, tolerance: float) -> Tensor:
    """Whether a map's highest pixel lies within ``tolerance`` pixels of its region, bool (B,).

    Of equal pixels the raster-first one is taken; a map without contrast or with NaN points nowhere and misses.

    Args:
        maps: Maps (B,R,R).
        regions: bool (B,R,R) on the same device.
        tolerance: Radius in pixels (15 as published).

    Raises:
        ValueError: Wrong shapes or a negative tolerance.

    Source: Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016, §4.1.

    Examples:
        >>> import torch
        >>> maps, regions = torch.zeros(1, 9, 9), torch.zeros(1, 9, 9, dtype=torch.bool)
        >>> maps[0, 4, 4], regions[0, 4, 6] = 1.0, True
        >>> pointing_hits(maps, regions, 2), pointing_hits(maps, regions, 1)
        (tensor([True]), tensor([False]))
    """
    if maps.ndim != 3 or maps.shape != regions.shape:
        raise ValueError(f"maps {tuple(maps.shape)} and regions {tuple(regions.shape)} must both be (B,R,R)")
    if tolerance < 0:
        raise ValueError(f"tolerance must not be negative, got {tolerance}")
    flat, width = maps.flatten(1), maps.shape[2]
    low, peak = torch.aminmax(flat, dim=1)
    index = torch.arange(flat.shape[1], dtype=torch.int32, device=maps.device)
    # argmax does not promise the first of equal values on every device.
    point = torch.where(flat == peak[:, None], index, index[-1]).amin(1)
    rows, columns = (torch.arange(side, dtype=torch.int32, device=maps.device) for side in maps.shape[1:])
    dy, dx = rows - (point // width)[:, None], columns - (point % width)[:, None]
    near = (dy * dy)[:, :, None] + (dx * dx)[:, None, :] <= tolerance * tolerance
    # Both are NaN where the map holds one.
    pointed = (peak > low) & peak.isfinite() & low.isfinite()
    return (near & regions.bool()).flatten(1).any(1) & pointed


def energy_in_region(maps_positive: Tensor, regions: Tensor) -> Tensor:
    """Energy-based pointing game: share of a positive map's mass within its region, float64 (B,).

    Args and errors as ``fidelity.evidence_precision``.

    Source: Wang et al., Score-CAM, CVPRW 2020, §4.3.

    Examples:
        >>> import torch
        >>> regions = torch.tensor([[[True, False], [False, False]]])
        >>> energy_in_region(torch.tensor([[[3.0, 1.0], [0.0, 0.0]]]), regions)
        tensor([0.7500], dtype=torch.float64)
    """
    return evidence_precision(maps_positive, regions)
