"""Basins of one map, and the levels at which they join, within one program: the steps of ``kernels.tensor``, fused.

Between two steps stands a barrier. Pointers are followed in place: whatever a thread reads of another's writes leads to
the same peak, so that the race is harmless.
"""

from __future__ import annotations

import triton.language as tl

from .scratch import (
    FRAME,
    FRAME_KEY,
    INDEX_BITS,
    INDEX_MASK,
    INTO,
    JOINED,
    JOINS,
    KEYS,
    MERGED,
    MOST_JOINS,
    PEAK,
    PIXELS,
    RANK_BITS,
    RANK_MASK,
    RAW,
    RAW_PEAK,
    SLOT,
    SLOTS,
    fuse,
)


@fuse
def value_at(values: tl.tensor, pixel: tl.tensor, inside: tl.tensor, HOLES: tl.constexpr) -> tl.tensor:
    """Value of a pixel, or with ``HOLES`` of the background there: 255 − value."""
    value = tl.load(values + pixel, mask=inside, other=0).to(tl.int32)
    if HOLES:
        value = 255 - value
    return value


@fuse
def key_at(
    values: tl.tensor, y: tl.tensor, x: tl.tensor, height: tl.tensor, width: tl.tensor, HOLES: tl.constexpr
) -> tl.tensor:
    """Key of a neighbour, which orders all pixels; the frame's, or −1, beyond the border."""
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    pixel = y * width + x
    beyond = height * 0 - 1
    if HOLES:
        beyond = height * width + FRAME_KEY
    return tl.where(inside, (value_at(values, pixel, inside, HOLES) << INDEX_BITS) | pixel, beyond)


@fuse
def ascend(
    values: tl.tensor, scratch: tl.tensor, height: tl.tensor, width: tl.tensor, HOLES: tl.constexpr, BLOCK: tl.constexpr
) -> tl.tensor:
    """Point every pixel to its highest neighbour, number the peaks, list the joins: their numbers."""
    nodes = height * width
    up, label = scratch + PIXELS, scratch + PIXELS + nodes + 1
    raw, joins = nodes * 0, nodes * 0
    if HOLES:
        raw += 1
        tl.store(scratch + RAW_PEAK, FRAME)
        tl.store(up + nodes, nodes)
        tl.store(label + nodes, 0)
    for start in range(0, nodes, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        here = pixel < nodes
        y, x = pixel // width, pixel % width
        value = value_at(values, pixel, here, HOLES)
        own = (value << INDEX_BITS) | pixel
        east = key_at(values, y, x + 1, height, width, HOLES)
        north = key_at(values, y - 1, x, height, width, HOLES)
        west = key_at(values, y, x - 1, height, width, HOLES)
        south = key_at(values, y + 1, x, height, width, HOLES)
        ne = key_at(values, y - 1, x + 1, height, width, HOLES)
        nw = key_at(values, y - 1, x - 1, height, width, HOLES)
        sw = key_at(values, y + 1, x - 1, height, width, HOLES)
        se = key_at(values, y + 1, x + 1, height, width, HOLES)
        best = tl.maximum(tl.maximum(tl.maximum(east, north), tl.maximum(west, south)), own)
        if not HOLES:
            best = tl.maximum(best, tl.maximum(tl.maximum(ne, nw), tl.maximum(sw, se)))
        e, n, w, s = east > own, north > own, west > own, south > own
        a, b, c, d = ne > own, nw > own, sw > own, se > own
        # Yokoi's number of the higher pixels around each is two or more.
        if HOLES:
            parts = (e & ~(a & n)).to(tl.int32) + (n & ~(b & w)).to(tl.int32)
            parts += (w & ~(c & s)).to(tl.int32) + (s & ~(d & e)).to(tl.int32)
            border = (y == 0) | (y == height - 1) | (x == 0) | (x == width - 1)
            several = (parts >= 2) | border
        else:
            parts = (~e & (a | n)).to(tl.int32) + (~n & (b | w)).to(tl.int32)
            parts += (~w & (c | s)).to(tl.int32) + (~s & (d | e)).to(tl.int32)
            several = parts >= 2
        peak = (here & (value > 0) & (best == own)).to(tl.int32)
        join = (here & (value > 0) & several).to(tl.int32)
        number = raw + tl.cumsum(peak, 0) - 1
        place = joins + tl.cumsum(join, 0) - 1
        tl.store(up + pixel, best & INDEX_MASK, mask=here)
        tl.store(label + pixel, tl.where(peak > 0, number, 0), mask=here)
        tl.store(scratch + RAW_PEAK + number, value, mask=(peak > 0) & (number < RAW))
        tl.store(scratch + JOINS + place, pixel, mask=(join > 0) & (place < MOST_JOINS))
        raw += tl.sum(peak, 0)
        joins += tl.sum(join, 0)
    return raw, joins


@fuse
def follow(scratch: tl.tensor, nodes: tl.tensor, BLOCK: tl.constexpr) -> None:
    """Follow every pixel's pointers to their peak, and take its number."""
    up, label = scratch + PIXELS, scratch + PIXELS + nodes + 1
    moved = nodes * 0 + 1
    while moved > 0:
        tl.debug_barrier()
        moved = nodes * 0
        for start in range(0, nodes, BLOCK):
            pixel = start + tl.arange(0, BLOCK)
            here = pixel < nodes
            first = tl.load(up + pixel, mask=here, other=0)
            second = tl.load(up + first, mask=here, other=0)
            tl.store(up + pixel, second, mask=here)
            moved += tl.sum((here & (first != second)).to(tl.int32), 0)
    tl.debug_barrier()
    for start in range(0, nodes, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        here = pixel < nodes
        top = tl.load(up + pixel, mask=here, other=0)
        tl.store(label + pixel, tl.load(label + top, mask=here, other=0), mask=here)
    tl.debug_barrier()


@fuse
def merge_plateaus(
    values: tl.tensor,
    scratch: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    joins: tl.tensor,
    HOLES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Merge every raw basin whose saddle is its own peak: it never stands alone."""
    nodes = height * width
    label = scratch + PIXELS + nodes + 1
    order = tl.arange(0, RAW)
    tl.store(scratch + MERGED + order, order)
    changed = nodes * 0 + 1
    while changed > 0:
        own = (tl.load(scratch + RAW_PEAK + order) << RANK_BITS) | order
        tl.store(scratch + INTO + order, own)
        tl.debug_barrier()
        for start in range(0, joins, BLOCK):
            place = start + tl.arange(0, BLOCK)
            here = place < joins
            pixel = tl.load(scratch + JOINS + place, mask=here, other=0)
            y, x = pixel // width, pixel % width
            value = value_at(values, pixel, here, HOLES)
            ra = tl.load(scratch + MERGED + tl.load(label + pixel, mask=here, other=0), mask=here, other=0)
            ka = (tl.load(scratch + RAW_PEAK + ra) << RANK_BITS) | ra
            for step in tl.static_range(9):
                if step != 4 and (not HOLES or step % 2 == 1):
                    ny, nx = y + (step // 3 - 1), x + (step % 3 - 1)
                    inside = here & (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
                    near = ny * width + nx
                    other = (value_at(values, near, inside, HOLES) << INDEX_BITS) | near
                    higher = inside & (other > ((value << INDEX_BITS) | pixel))
                    rb = tl.load(scratch + MERGED + tl.load(label + near, mask=higher, other=0), mask=higher, other=0)
                    kb = (tl.load(scratch + RAW_PEAK + rb) << RANK_BITS) | rb
                    flat = higher & (ka != kb) & (value == (tl.minimum(ka, kb) >> RANK_BITS))
                    low = tl.where(ka < kb, ra, rb)
                    tl.atomic_max(scratch + INTO + low, tl.maximum(ka, kb), mask=flat)
        tl.debug_barrier()
        for _ in tl.static_range(9):
            ahead = tl.load(scratch + INTO + order) & RANK_MASK
            further = tl.load(scratch + INTO + ahead)
            tl.debug_barrier()
            tl.store(scratch + INTO + order, further)
            tl.debug_barrier()
        before = tl.load(scratch + MERGED + order)
        after = tl.load(scratch + INTO + before) & RANK_MASK
        tl.debug_barrier()
        tl.store(scratch + MERGED + order, after)
        changed = tl.sum((before != after).to(tl.int32), 0)
        tl.debug_barrier()


@fuse
def rank_basins(scratch: tl.tensor, raw: tl.tensor) -> tl.tensor:
    """Give the kept basins slots from the highest peak down: their number, −1 where there is no room."""
    order = tl.arange(0, RAW)
    kept = ((tl.load(scratch + MERGED + order) == order) & (order < raw)).to(tl.int32)
    count = tl.sum(kept, 0)
    place = tl.cumsum(kept, 0) - 1
    key = (tl.load(scratch + RAW_PEAK + order) << RANK_BITS) | order
    tl.store(scratch + KEYS + place, key, mask=(kept > 0) & (place < SLOTS))
    tl.debug_barrier()
    if count <= SLOTS:
        slot = tl.arange(0, SLOTS)
        mine = tl.load(scratch + KEYS + slot, mask=slot < count, other=-1)
        above = tl.zeros_like(slot)
        for k in range(count):
            above += (tl.load(scratch + KEYS + k) > mine).to(tl.int32)
        tl.store(scratch + PEAK + above, mine >> RANK_BITS, mask=slot < count)
        tl.store(scratch + SLOT + (mine & RANK_MASK), above, mask=slot < count)
        tl.debug_barrier()
    else:
        count = -1
    return count


@fuse
def join_basins(
    values: tl.tensor,
    scratch: tl.tensor,
    height: tl.tensor,
    width: tl.tensor,
    joins: tl.tensor,
    HOLES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Name every pixel's slot (``SLOTS`` where the value is 0), and enter the saddles of the joins."""
    nodes = height * width
    label = scratch + PIXELS + nodes + 1
    for start in range(0, nodes, BLOCK):
        pixel = start + tl.arange(0, BLOCK)
        here = pixel < nodes
        basin = tl.load(scratch + MERGED + tl.load(label + pixel, mask=here, other=0))
        some = here & (value_at(values, pixel, here, HOLES) > 0)
        tl.store(label + pixel, tl.where(some, tl.load(scratch + SLOT + basin, mask=some, other=0), SLOTS), mask=here)
    pair = tl.arange(0, SLOTS * SLOTS)
    tl.store(scratch + JOINED + pair, tl.zeros_like(pair))
    tl.debug_barrier()
    for start in range(0, joins, BLOCK):
        place = start + tl.arange(0, BLOCK)
        here = place < joins
        pixel = tl.load(scratch + JOINS + place, mask=here, other=0)
        y, x = pixel // width, pixel % width
        value = value_at(values, pixel, here, HOLES)
        a = tl.load(label + pixel, mask=here, other=0)
        for step in tl.static_range(9):
            if step != 4 and (not HOLES or step % 2 == 1):
                ny, nx = y + (step // 3 - 1), x + (step % 3 - 1)
                inside = here & (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
                near = ny * width + nx
                other = (value_at(values, near, inside, HOLES) << INDEX_BITS) | near
                higher = inside & (other > ((value << INDEX_BITS) | pixel))
                b = tl.load(label + near, mask=higher, other=0)
                tl.atomic_max(scratch + JOINED + a * SLOTS + b, value, mask=higher & (a != b))
                tl.atomic_max(scratch + JOINED + b * SLOTS + a, value, mask=higher & (a != b))
    tl.debug_barrier()


@fuse
def close_joins(scratch: tl.tensor, count: tl.tensor) -> None:
    """Max-min closure of the saddles: the highest value at which two basins are connected, over any others."""
    row, column = tl.arange(0, SLOTS)[:, None], tl.arange(0, SLOTS)[None, :]
    for k in range(count):
        through = tl.minimum(
            tl.load(scratch + JOINED + row * SLOTS + k), tl.load(scratch + JOINED + k * SLOTS + column)
        )
        best = tl.maximum(tl.load(scratch + JOINED + row * SLOTS + column), through)
        tl.debug_barrier()
        tl.store(scratch + JOINED + row * SLOTS + column, best)
        tl.debug_barrier()


@fuse
def find_basins(
    values: tl.tensor, scratch: tl.tensor, height: tl.tensor, width: tl.tensor, HOLES: tl.constexpr, BLOCK: tl.constexpr
) -> tl.tensor:
    """Basins of a map, or with ``HOLES`` of its background: their number, −1 where there is no room for them."""
    tl.debug_barrier()
    raw, joins = ascend(values, scratch, height, width, HOLES, BLOCK)
    count = raw * 0 - 1
    if (raw <= RAW) & (joins <= MOST_JOINS):
        order = tl.arange(0, RAW)
        tl.store(scratch + RAW_PEAK + order, tl.zeros_like(order), mask=order >= raw)
        follow(scratch, height * width, BLOCK)
        merge_plateaus(values, scratch, height, width, joins, HOLES, BLOCK)
        count = rank_basins(scratch, raw)
        if count >= 0:
            join_basins(values, scratch, height, width, joins, HOLES, BLOCK)
            close_joins(scratch, count)
    return count
