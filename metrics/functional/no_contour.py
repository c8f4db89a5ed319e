"""Box rules beside wsolevaluation's: the whole map where nothing is above a threshold, thresholds of a percentile."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...protocol import Protocol
from .device_boxes import choose_engine, run_on_device
from .host_copies import upload
from .kernels.levels import LEVELS, LevelIoUs, run


def run_rule(
    levels: Tensor,
    boxes: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    no_contour: str,
    engine: str = "cpu",
) -> LevelIoUs:
    """Level curves of checked levels (B,H,W) and joined boxes under a protocol's ``no_contour``.

    ``engine`` is as of ``level_ious``.

    Examples:
        >>> levels = torch.zeros(1, 8, 8, dtype=torch.uint8)
        >>> curves = run_rule(levels, np.array([[0, 0, 7, 7]]), np.array([0, 1]), "whole")
        >>> float(curves.multi[0, 0])
        1.0
    """
    chosen = choose_engine(engine, levels.device)
    ious = run(levels, boxes, offsets) if chosen == "cpu" else run_on_device(levels, boxes, offsets, chosen)
    if no_contour == "zero":
        return ious
    return whole_where_empty(ious, levels.shape[1], levels.shape[2], boxes, offsets)


def whole_where_empty(
    ious: LevelIoUs, height: int, width: int, boxes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> LevelIoUs:
    """IoUs with the box of the whole map at every level above which a map has no pixel.

    That box is clipped as every other: [0, 0, width − 1, height − 1]. Levels above which there is a pixel keep theirs,
    so that the curves stay exact.

    Args:
        ious: What ``level_ious`` finds, with the box [0, 0, 0, 0] at these levels.
        height: Of the maps, in pixels.
        width: Of the maps, in pixels.
        boxes: Ground truth (M,4), x0, y0, x1, y1 in pixels of the map.
        offsets: int64 (B+1,); the boxes of image i are ``boxes[offsets[i]:offsets[i + 1]]``.

    Source: Rethinking CAM (Bae et al., ECCV 2020), ``extract_bbox``.

    Examples:
        >>> zero = torch.zeros(1, 256, dtype=torch.float64)
        >>> none = LevelIoUs(zero, zero, zero, torch.tensor([0]))
        >>> found = whole_where_empty(none, 10, 10, np.array([[0, 0, 9, 4]]), np.array([0, 1]))
        >>> float(found.single[0, 0])
        0.5
    """
    counts = np.diff(offsets)
    inner = np.minimum(boxes[:, 2:], [width - 1, height - 1]) - boxes[:, :2] + 1
    common = np.clip(inner, 0, None).prod(1).astype(np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2] + 1).prod(1)
    each = common / (height * width + areas - common)
    best, first = np.zeros(len(counts)), np.zeros(len(counts))
    np.maximum.at(best, np.repeat(np.arange(len(counts)), counts), each)
    first[counts > 0] = each[offsets[:-1][counts > 0]]
    device = ious.multi.device
    empty = torch.arange(LEVELS, device=device)[None] >= ious.peak[:, None]
    any_box, first_box = (upload(torch.from_numpy(v)[:, None], device) for v in (best, first))
    return LevelIoUs(
        torch.where(empty, any_box, ious.multi),
        torch.where(empty, any_box, ious.single),
        torch.where(empty, first_box, ious.single_first),
        ious.peak,
    )


def level_percentile(levels: Tensor, percent: float) -> Tensor:
    """Percentile of every map's levels, float64 (B,), linearly interpolated between ranks as ``numpy.percentile``.

    Args:
        levels: uint8 (B,R,R), any device.
        percent: 0 to 100; 100 is the highest level.

    Source: Rethinking CAM (Bae et al., ECCV 2020), §3.3: a threshold is a fraction of it ("percentile as a standard").

    Examples:
        >>> level_percentile(torch.tensor([[[0, 10], [20, 40]]], dtype=torch.uint8), 50)
        tensor([15.], dtype=torch.float64)
    """
    flat = levels.flatten(1).sort(dim=1).values
    at = (flat.shape[1] - 1) * (percent / 100)
    low = int(at)
    a = flat[:, low].to(torch.float64)
    b = flat[:, min(low + 1, flat.shape[1] - 1)].to(torch.float64)
    part = at - low
    # From the nearer end, as numpy does: the result is the same to the last bit.
    return a + (b - a) * part if part < 0.5 else b - (b - a) * (1 - part)


def reference_levels(levels: Tensor, protocol: Protocol) -> Tensor:
    """What a threshold is a fraction of under a protocol, (B,): the maps' highest levels, or ``level_percentile``.

    Args:
        levels: uint8 (B,R,R), any device.
        protocol: Its ``loc_reference`` and ``loc_percentile``.

    Examples:
        >>> levels = torch.tensor([[[0, 10], [20, 40]]], dtype=torch.uint8)
        >>> reference_levels(levels, Protocol(name="peak")).tolist()
        [40]
        >>> reference_levels(levels, Protocol(name="half", loc_reference="percentile", loc_percentile=50)).tolist()
        [15.0]
    """
    if protocol.loc_reference == "percentile":
        return level_percentile(levels, protocol.loc_percentile)
    return levels.amax((1, 2))
