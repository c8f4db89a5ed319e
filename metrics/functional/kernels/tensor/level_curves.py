"""Level curves of a batch of maps, as tensor operations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .components import Components, find_components, polygon_areas
from .merge_tree import find_basins

Box = tuple[Tensor, Tensor, Tensor, Tensor]


class Truth(NamedTuple):
    """Ground truth of a batch: int64 (B,G,4) padded to G rows, and the rows that count (B,)."""

    boxes: Tensor
    counts: Tensor


def tensor_curves(levels: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
    """IoU curves float64 (3,B,256), multi, single and single_first, and where they hold: bool (B,).

    A map with more basins than there is room for has no curve (False); the CPU kernels take it. The number of tensor
    operations depends on the sides of the maps and on the most boxes of an image, not on the maps or their number.

    Args:
        levels: uint8 (B,H,W), sides up to 512, on any device that has float64.
        truth: On the same device.

    Source: the rules of ``kernels.maxtree`` (wsolevaluation over all thresholds at once), from basins.
    """
    values = levels.to(torch.int32)
    pits = find_basins(255 - values, True)
    # The value at which a pixel's hole joins the frame; a pixel of value 255 is in no hole.
    reach = torch.cat([pits.joined[:, :, 0], torch.zeros_like(pits.peak[:, :1])], 1)
    reach[:, 0] = 256
    filled = torch.maximum(values.flatten(1), 255 - reach.gather(1, pits.label)).view_as(values)
    # One call for both: the maps have every contour, the filled maps the largest one.
    both = torch.cat([values, filled])
    basins = find_basins(both, False)
    parts = find_components(both, basins)
    areas = polygon_areas(both, basins, parts.root)
    size = levels.shape[1:]
    count = len(levels)
    multi = torch.maximum(
        _every_contour(parts, count, size, truth), _every_hole(find_components(255 - values, pits), size, truth)
    )
    single, first = _largest_contour(parts, areas, count, size, truth)
    nothing = torch.zeros_like(truth.counts)[:, None]
    empty = levels.flatten(1).amax(1, keepdim=True) <= torch.arange(256, device=levels.device)
    frame: Box = (nothing, nothing, nothing, nothing)
    curves = torch.stack(
        [
            torch.where(empty, _iou(frame, truth), multi),
            torch.where(empty, _iou(frame, truth), single),
            torch.where(empty, _iou(frame, truth, only_first=True), first),
        ]
    )
    return curves, ~(pits.many | basins.many[:count] | basins.many[count:])


def _every_contour(parts: Components, count: int, size: torch.Size, truth: Truth) -> Tensor:
    x0, y0, x1, y1 = (side[:count] for side in parts.box)
    ious = _iou((x0, y0, _end(x1, 1, size[1]), _end(y1, 1, size[0])), truth)
    return torch.where(parts.alive[:count], ious, 0.0).amax(2)


def _every_hole(pits: Components, size: torch.Size, truth: Truth) -> Tensor:
    """Best IoU of the holes of {map <= l}, which are the pits above 254 − l; OpenCV's contour runs around them."""
    x0, y0, x1, y1 = pits.box
    ious = _iou((x0 - 1, y0 - 1, _end(x1, 2, size[1]), _end(y1, 2, size[0])), truth)
    best = torch.where(pits.alive, ious, 0.0)[:, :, 1:].amax(2)
    return torch.cat([best[:, :255].flip(1), torch.zeros_like(best[:, :1])], 1)


def _largest_contour(
    parts: Components, areas: Tensor, count: int, size: torch.Size, truth: Truth
) -> tuple[Tensor, Tensor]:
    """IoU of the component of largest area; of equal ones that whose first pixel comes last."""
    alive = parts.alive[count:]
    order = areas[count:].long() * (size[0] * size[1]) + parts.first[count:]
    winner = torch.where(alive, order, -1).argmax(2, keepdim=True)
    x0, y0, x1, y1 = (side[count:].gather(2, winner).squeeze(2) for side in parts.box)
    box = (x0, y0, _end(x1, 1, size[1]), _end(y1, 1, size[0]))
    return _iou(box, truth), _iou(box, truth, only_first=True)


def _end(side: Tensor, by: int, size: int) -> Tensor:
    return (side + by).clamp(max=size - 1)


def _iou(box: Box, truth: Truth, only_first: bool = False) -> Tensor:
    """Best inclusive IoU float64 of boxes (B,...) with the ground truth of their images; 0 where there is none."""
    x0, y0, x1, y1 = (side.int() for side in box)
    shape = (-1,) + (1,) * (x0.ndim - 1)
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    best = torch.zeros(x0.shape, dtype=torch.float64, device=x0.device)
    rows = truth.boxes.int()
    for g in range(min(1, rows.shape[1]) if only_first else rows.shape[1]):
        gx0, gy0, gx1, gy1 = (rows[:, g, side].view(shape) for side in range(4))
        other = (
            (truth.boxes[:, g, 2] - truth.boxes[:, g, 0] + 1) * (truth.boxes[:, g, 3] - truth.boxes[:, g, 1] + 1)
        ).view(shape)
        wide = (torch.minimum(x1, gx1) - torch.maximum(x0, gx0) + 1).clamp(min=0)
        high = (torch.minimum(y1, gy1) - torch.maximum(y0, gy0) + 1).clamp(min=0)
        inter = wide * high
        iou = inter.double() / ((area - inter).double() + other.double())
        best = torch.maximum(best, torch.where((truth.counts > g).view(shape), iou, 0.0))
    return best
