"""Where the components of one map reach at every level, and what area they have, within one program.

Five tables (SLOTS,LEVELS) of slot k and value v: the largest x, the largest W − 1 − x, the largest y, the largest
N − 1 − p (p the pixel's index) and the doubled polygon area of {basin k, value >= v}; where k stands for the component
that it is the highest basin of, of the whole component.
"""

from __future__ import annotations

import triton.language as tl

from .basin_search import value_at
from .scratch import JOINED, LEVELS, PEAK, PIXELS, SLOTS, TABLE, TABLES, fuse


@fuse
def raise_to(place: tl.tensor, value: tl.tensor, some: tl.tensor) -> None:
    """The larger of a cell and a value; most pixels raise nothing, and cost a read only."""
    tl.atomic_max(place, value, mask=some & (tl.load(place, mask=some, other=0) < value))


@fuse
def clear_tables(tables: tl.tensor, cells: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Tables of nothing."""
    for start in range(0, cells, BLOCK):
        cell = start + tl.arange(0, BLOCK)
        for which in tl.static_range(4):
            tl.store(tables + which * TABLE + cell, tl.zeros_like(cell) - 1, mask=cell < cells)
        tl.store(tables + 4 * TABLE + cell, tl.zeros_like(cell), mask=cell < cells)
    tl.debug_barrier()


@fuse
def enter_pixels(
    values: tl.tensor, scratch: tl.tensor, height: tl.tensor, width: tl.tensor, HOLES: tl.constexpr, BLOCK: tl.constexpr
) -> None:
    """Enter every pixel and every 2×2 quad at its value."""
    nodes = height * width
    label, tables = scratch + PIXELS + nodes + 1, scratch + TABLES
    for start in range(0, nodes, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        here = pixel < nodes
        y, x = pixel // width, pixel % width
        slot = tl.load(label + pixel, mask=here, other=SLOTS)
        a = value_at(values, pixel, here, HOLES)
        cell = tables + slot * LEVELS + a
        some = slot < SLOTS
        raise_to(cell, x, some)
        raise_to(cell + TABLE, width - 1 - x, some)
        raise_to(cell + 2 * TABLE, y, some)
        raise_to(cell + 3 * TABLE, nodes - 1 - pixel, some)
        if not HOLES:
            quad = here & (x < width - 1) & (y < height - 1)
            b = value_at(values, pixel + 1, quad, HOLES)
            c = value_at(values, pixel + width, quad, HOLES)
            d = value_at(values, pixel + width + 1, quad, HOLES)
            low, high, low2, high2 = tl.minimum(a, b), tl.maximum(a, b), tl.minimum(c, d), tl.maximum(c, d)
            fourth, third = tl.minimum(low, low2), tl.minimum(tl.maximum(low, low2), tl.minimum(high, high2))
            # At most one of the four is below the second smallest value, so one of a, b is in its component.
            beside = tl.load(label + pixel + 1, mask=quad, other=SLOTS)
            of_third = tl.where(a >= third, slot, beside)
            one = tl.zeros_like(pixel) + 1
            tl.atomic_add(tables + 4 * TABLE + of_third * LEVELS + third, one, mask=quad & (third > 0))
            tl.atomic_add(tables + 4 * TABLE + slot * LEVELS + fourth, one, mask=quad & (fourth > 0))
    tl.debug_barrier()


@fuse
def cumulate(tables: tl.tensor, count: tl.tensor, BLOCK: tl.constexpr) -> None:
    """From what is at a value to what is at that value or above."""
    cells = count * LEVELS
    step = count * 0 + 1
    while step < LEVELS:
        for start in range(0, cells, BLOCK):
            cell = start + tl.arange(0, BLOCK)
            here = cell < cells
            above = here & (cell % LEVELS + step < LEVELS)
            # A neighbour's new value, seen early, is of a larger part of the same values.
            for which in tl.static_range(4):
                place = tables + which * TABLE + cell
                both = tl.maximum(tl.load(place, mask=here, other=-1), tl.load(place + step, mask=above, other=-1))
                tl.store(place, both, mask=here)
        step = step * 2
        tl.debug_barrier()
    value = tl.arange(0, LEVELS)
    for k in range(count):
        row = tables + 4 * TABLE + k * LEVELS + value
        area = tl.cumsum(tl.load(row), 0, reverse=True)
        tl.debug_barrier()
        tl.store(row, area)
    tl.debug_barrier()


@fuse
def combine(scratch: tl.tensor, count: tl.tensor) -> None:
    """Add every basin to the highest one that it is connected with, at every value."""
    tables = scratch + TABLES
    value = tl.arange(0, LEVELS)
    for k in range(1, count):
        root = tl.zeros_like(value) + k
        for step in range(k):
            j = k - 1 - step
            root = tl.where(tl.load(scratch + JOINED + k * SLOTS + j) >= value, j, root)
        part = (root != k) & (value > 0) & (value <= tl.load(scratch + PEAK + k))
        for which in tl.static_range(4):
            table = tables + which * TABLE
            tl.atomic_max(table + root * LEVELS + value, tl.load(table + k * LEVELS + value), mask=part)
        areas = tables + 4 * TABLE
        tl.atomic_add(areas + root * LEVELS + value, tl.load(areas + k * LEVELS + value), mask=part)
    tl.debug_barrier()


@fuse
def find_components(
    values: tl.tensor,
    scratch: tl.tensor,
    count: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    HOLES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The tables of the components of a map, whose basins are known, at every value."""
    clear_tables(scratch + TABLES, count * LEVELS, BLOCK)
    enter_pixels(values, scratch, height, width, HOLES, BLOCK)
    cumulate(scratch + TABLES, count, BLOCK)
    combine(scratch, count)


@fuse
def stands_alone(scratch: tl.tensor, k: tl.tensor, value: tl.tensor) -> tl.tensor:
    """Whether slot k is the highest basin of a component at each value."""
    slot = tl.arange(0, SLOTS)
    end = tl.max(tl.load(scratch + JOINED + k * SLOTS + slot, mask=slot < k, other=0), 0)
    return (value > end) & (value <= tl.load(scratch + PEAK + k))
