"""Connected components of a batch of maps at every level, from their basins, as tensor operations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .merge_tree import MAX_BASINS, Basins
from .pointers import resolve

LEVELS = 256


class Components(NamedTuple):
    """Components of {values > level} at all 256 levels, each in the slot of its highest basin; K = ``MAX_BASINS``.

    ``box`` four int32 (B,256,K): inclusive x0, y0, x1, y1. ``first`` int32 (B,256,K): index y·W + x of the first pixel
    in reading order. ``alive`` bool (B,256,K): the slot has a component. ``root`` int64 (B,256,K): the slot of the
    component that a basin belongs to.
    """

    box: tuple[Tensor, Tensor, Tensor, Tensor]
    first: Tensor
    alive: Tensor
    root: Tensor


def find_components(values: Tensor, basins: Basins) -> Components:
    """Components at every level of maps int32 (B,H,W) whose basins are known."""
    count, height, width = values.shape
    flat, label = values.flatten(1), basins.label
    image = label.view(count, height, width)
    slots = MAX_BASINS + 1
    rows = values.new_zeros(count, height, slots).scatter_reduce_(2, image, values, "amax").transpose(1, 2)
    columns = values.new_zeros(count, slots, width).scatter_reduce_(1, image, values, "amax")
    across = torch.arange(width, dtype=torch.int32, device=values.device)
    down = torch.arange(height, dtype=torch.int32, device=values.device)
    last = torch.arange(height * width - 1, -1, -1, dtype=torch.int32, device=values.device).expand(count, -1)
    # Of each basin and value, coded so that the extreme is the largest; −1 where it has no such pixel.
    tables = [
        _by_value(columns, across),
        _by_value(columns, width - 1 - across),
        _by_value(rows, down),
        _largest((label << 8) + flat.long(), last, slots * LEVELS, -1),
    ]
    stacked = torch.stack([table.view(count, -1, LEVELS)[:, :-1] for table in tables])
    root = _roots(basins)
    above = _largest_above(stacked).transpose(2, 3)
    joined = torch.full_like(above, -1).scatter_reduce_(3, root.expand(4, -1, -1, -1), above, "amax")
    own = torch.arange(MAX_BASINS, device=values.device)
    level = torch.arange(LEVELS, device=values.device)[:, None]
    alive = (root == own) & (basins.peak[:, None] > level)
    first = height * width - 1 - joined[3]
    box = (width - 1 - joined[1], first // width, joined[0], joined[2])
    return Components(box, first, alive, root)


def polygon_areas(values: Tensor, basins: Basins, root: Tensor) -> Tensor:
    """Doubled polygon area int32 (B,256,K) of every component of {values > level}.

    With sorted values v1 <= v2 <= v3 <= v4 a 2×2 quad adds 1 at every level below v2 and 1 more below v1.
    """
    count, height, width = values.shape
    label = basins.label.view(count, height, width) << 8
    small = values.to(torch.uint8)
    # Indices are int64, and so is what is added to them: mixed operands take several times as long on a CPU.
    a, b, c, d = small[:, :-1, :-1], small[:, :-1, 1:], small[:, 1:, :-1], small[:, 1:, 1:]
    low, high, low2, high2 = torch.minimum(a, b), torch.maximum(a, b), torch.minimum(c, d), torch.maximum(c, d)
    fourth, third = torch.minimum(low, low2), torch.minimum(torch.maximum(low, low2), torch.minimum(high, high2))
    # At most one of the four is below the second smallest value, so one of a, b is in its component.
    of_third = torch.where(a >= third, label[:, :-1, :-1], label[:, :-1, 1:])
    areas = torch.zeros(count, (MAX_BASINS + 1) * LEVELS, dtype=torch.int32, device=values.device)
    ones = areas.new_ones(1, 1).expand(count, (height - 1) * (width - 1))
    areas.scatter_add_(1, (of_third + third.long()).flatten(1), ones)
    areas.scatter_add_(1, (label[:, :-1, :-1] + fourth.long()).flatten(1), ones)
    table = areas.view(count, -1, LEVELS)[:, :-1]
    above = _sum_above(table).transpose(1, 2)
    return torch.zeros_like(above).scatter_add_(2, root, above)


def _roots(basins: Basins) -> Tensor:
    """Slot int64 (B,256,K) of the highest basin that each is connected to above every level."""
    slots = torch.arange(MAX_BASINS, dtype=torch.int32, device=basins.peak.device)
    higher = slots[None, :] < slots[:, None]
    ends, parent = torch.where(higher, basins.joined, -1).max(2)
    level = torch.arange(LEVELS, dtype=torch.int32, device=basins.peak.device)[:, None]
    pointers = torch.where(ends[:, None] > level, parent[:, None].int(), slots)
    return resolve(pointers.flatten(0, 1)).view(len(basins.peak), LEVELS, MAX_BASINS).long()


def _largest(index: Tensor, source: Tensor, size: int, empty: int) -> Tensor:
    """Largest of ``source`` (B,N) at every ``index`` (B,N): int32 (B,size)."""
    found = torch.full((len(index), size), empty, dtype=torch.int32, device=index.device)
    return found.scatter_reduce_(1, index, source, "amax")


def _by_value(extremes: Tensor, place: Tensor) -> Tensor:
    """Largest place int32 (B,(K+1)·256) at which a basin's row or column maxima (B,K+1,S) have each value."""
    _count, slots, _ = extremes.shape
    own = torch.arange(slots, device=extremes.device)[:, None] * LEVELS
    return _largest((own + extremes).flatten(1), place.expand_as(extremes).flatten(1), slots * LEVELS, -1)


def _largest_above(tables: Tensor) -> Tensor:
    """Largest entry of all values > v, along the last dimension, for every v; −1 where there is none.

    By steps that double, each a maximum of two shifted views: a scan that keeps no places, and flips nothing.
    """
    found = torch.full_like(tables, -1)
    found[..., :-1] = tables[..., 1:]
    step = 1
    while step < LEVELS:
        wider = torch.empty_like(found)
        torch.maximum(found[..., :-step], found[..., step:], out=wider[..., :-step])
        wider[..., -step:] = found[..., -step:]
        found, step = wider, 2 * step
    return found


def _sum_above(tables: Tensor) -> Tensor:
    """Sum of the entries of all values > v, along the last dimension, int32, for every v."""
    sums = tables.cumsum(-1, dtype=torch.int32)
    return sums[..., -1:] - sums
