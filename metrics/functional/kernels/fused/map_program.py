"""The fused program of one map: from its levels to its curves."""

from __future__ import annotations

import triton.language as tl

from .basin_search import find_basins
from .level_tables import find_components, stands_alone
from .scratch import JOINED, LEVELS, PEAK, PIXELS, SERVED, SLOTS, TABLE, TABLES, fuse


@fuse
def best_iou(
    x0: tl.tensor, y0: tl.tensor, x1: tl.tensor, y1: tl.tensor, truth: tl.tensor, most: tl.tensor
) -> tl.tensor:
    """Best inclusive IoU float64 with the first ``most`` ground-truth boxes of the map; 0 where there is none."""
    area = (x1 - x0 + 1) * (y1 - y0 + 1)
    best = area.to(tl.float64) * 0.0
    for g in range(tl.minimum(most, tl.load(truth)).to(tl.int32)):
        row = truth + 4 * (g + 1)
        gx0, gy0, gx1, gy1 = tl.load(row), tl.load(row + 1), tl.load(row + 2), tl.load(row + 3)
        wide = tl.maximum(tl.minimum(x1, gx1) - tl.maximum(x0, gx0) + 1, 0)
        high = tl.maximum(tl.minimum(y1, gy1) - tl.maximum(y0, gy0) + 1, 0)
        inter = wide * high
        union = area - inter + (gx1 - gx0 + 1) * (gy1 - gy0 + 1)
        best = tl.maximum(best, inter.to(tl.float64) / union.to(tl.float64))
    return best


@fuse
def box_of(tables: tl.tensor, cell: tl.tensor, height: tl.tensor, width: tl.tensor) -> tl.tensor:
    """Inclusive x0, y0, x1, y1 of cells of the tables."""
    x1, x0 = tl.load(tables + cell), width - 1 - tl.load(tables + TABLE + cell)
    y1, y0 = tl.load(tables + 2 * TABLE + cell), (height * width - 1 - tl.load(tables + 3 * TABLE + cell)) // width
    return x0, y0, x1, y1


@fuse
def best_of_all(
    scratch: tl.tensor, count: tl.tensor, truth: tl.tensor, height: tl.tensor, width: tl.tensor, HOLES: tl.constexpr
) -> tl.tensor:
    """Best IoU (LEVELS) of all contours by value − 1, or with ``HOLES`` of those around holes by 255 − value."""
    level = tl.arange(0, LEVELS)
    value, first, grow = level + 1, count * 0, 0
    if HOLES:
        # Basin 0 is the frame; OpenCV's contour runs around a hole.
        value, first, grow = 255 - level, first + 1, 1
    some = (value > 0) & (value < LEVELS)
    best = level.to(tl.float64) * 0.0
    for k in range(first, count):
        x0, y0, x1, y1 = box_of(scratch + TABLES, k * LEVELS + value % LEVELS, height, width)
        x1, y1 = tl.minimum(x1 + 1 + grow, width - 1), tl.minimum(y1 + 1 + grow, height - 1)
        iou = best_iou(x0 - grow, y0 - grow, x1, y1, truth, 1 << 30)
        best = tl.where(some & stands_alone(scratch, k, value), tl.maximum(best, iou), best)
    return best


@fuse
def largest(scratch: tl.tensor, count: tl.tensor, height: tl.tensor, width: tl.tensor) -> tl.tensor:
    """Box, by value − 1, of the component of largest area; of equal ones that whose first pixel comes last."""
    level = tl.arange(0, LEVELS)
    value = (level + 1) % LEVELS
    x0, y0, x1, y1 = tl.zeros_like(level), tl.zeros_like(level), tl.zeros_like(level), tl.zeros_like(level)
    most = tl.zeros_like(level).to(tl.int64) - 1
    for k in range(count):
        cell = k * LEVELS + value
        area = tl.load(scratch + TABLES + 4 * TABLE + cell).to(tl.int64)
        start = height * width - 1 - tl.load(scratch + TABLES + 3 * TABLE + cell)
        rank = area * (height * width) + start
        more = (value > 0) & stands_alone(scratch, k, value) & (rank > most)
        nx0, ny0, nx1, ny1 = box_of(scratch + TABLES, cell, height, width)
        most, x0, y0 = tl.where(more, rank, most), tl.where(more, nx0, x0), tl.where(more, ny0, y0)
        x1, y1 = tl.where(more, tl.minimum(nx1 + 1, width - 1), x1), tl.where(more, tl.minimum(ny1 + 1, height - 1), y1)
    return x0, y0, x1, y1


@fuse
def fill_holes(levels: tl.tensor, scratch: tl.tensor, nodes: tl.tensor, BLOCK: tl.constexpr) -> None:
    """The map with its holes filled: max(value, 255 − the value at which the pixel's hole joins the frame)."""
    label, filled = scratch + PIXELS + nodes + 1, scratch + PIXELS + 2 * (nodes + 1)
    for start in range(0, nodes, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        here = pixel < nodes
        slot = tl.load(label + pixel, mask=here, other=0)
        reach = tl.load(scratch + JOINED + slot * SLOTS, mask=here & (slot < SLOTS), other=0)
        reach = tl.where(slot == 0, 256, reach)
        value = tl.load(levels + pixel, mask=here, other=0).to(tl.int32)
        tl.store(filled + pixel, tl.maximum(value, 255 - reach), mask=here)


@fuse
def map_program(
    levels: tl.tensor,
    truth: tl.tensor,
    curves: tl.tensor,
    scratch: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    boxes: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Curves float64 (3,LEVELS) of map ``program_id(0)`` of levels uint8 (B,H,W); its ``SERVED`` is 1 if they hold.

    ``truth`` int64 (B,1+boxes,4): the number of boxes in [b, 0, 0], then the boxes. ``scratch``: see ``scratch.words``.
    """
    one, nodes = tl.program_id(0).to(tl.int64), height * width
    levels += one * nodes
    truth += one * 4 * (1 + boxes)
    curves += one * 3 * LEVELS
    scratch += one * (PIXELS + 3 * (nodes + 1))
    level = tl.arange(0, LEVELS)
    served = nodes * 0
    pits = find_basins(levels, scratch, height, width, True, BLOCK)
    if pits >= 0:
        find_components(levels, scratch, pits, height, width, True, BLOCK)
        around = best_of_all(scratch, pits, truth, height, width, True)
        fill_holes(levels, scratch, nodes, BLOCK)
        count = find_basins(levels, scratch, height, width, False, BLOCK)
        if count >= 0:
            find_components(levels, scratch, count, height, width, False, BLOCK)
            multi = tl.maximum(around, best_of_all(scratch, count, truth, height, width, False))
            if pits > 1:
                filled = scratch + PIXELS + 2 * (nodes + 1)
                count = find_basins(filled, scratch, height, width, False, BLOCK)
                find_components(filled, scratch, tl.maximum(count, 0), height, width, False, BLOCK)
            if count >= 0:
                x0, y0, x1, y1 = largest(scratch, count, height, width)
                single, first = best_iou(x0, y0, x1, y1, truth, 1 << 30), best_iou(x0, y0, x1, y1, truth, 1)
                # Above the peak there is nothing but the box [0, 0, 0, 0], as ``largest`` leaves it.
                peak = tl.load(scratch + PEAK, mask=count > 0, other=0)
                tl.store(curves + level, tl.where(level < peak, multi, single))
                tl.store(curves + LEVELS + level, single)
                tl.store(curves + 2 * LEVELS + level, first)
                served += 1
    tl.store(scratch + SERVED, served)
