"""Algorithm T: all 256 level sets of any map by union-find over pixels in the order of their values.

Pixels live in a grid with a margin of one pixel: pixel (y, x) is cell (y + 1)·(W + 2) + x + 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....jit import kernel
from .contours import LevelCurves, best_iou, component_iou, hole_iou

Bytes = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.int32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Forest(NamedTuple):
    """Scratch of the union-find, by cell; what stands in it beside ``parent`` is right for roots alone."""

    parent: Cells
    box: Cells
    """(cells,4) bounds x0, y0, x1, y1 of a component."""
    area2: Cells
    """Its doubled polygon area."""
    first: Cells
    """Its raster-first cell."""
    roots: Cells
    """Live roots, in a list."""
    cached: Floats
    """Its IoU; -1 where that must be computed anew."""


@kernel
def find(parent: Cells, i: int) -> int:
    """Root of cell ``i``, halving the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def sort_cells(values: Bytes, h: int, w: int, order: Cells, start: Ints) -> None:
    """Counting sort: ``order[start[v]:start[v+1]]`` are the cells of value v in raster order."""
    start[:] = 0
    for y in range(1, h + 1):
        for c in range(y * (w + 2) + 1, y * (w + 2) + 1 + w):
            start[int(values[c]) + 1] += 1
    for v in range(256):
        start[v + 1] += start[v]
    fill = start[:256].copy()
    for y in range(1, h + 1):
        for c in range(y * (w + 2) + 1, y * (w + 2) + 1 + w):
            v = int(values[c])
            order[fill[v]] = c
            fill[v] += 1


@kernel
def merge_bounds(box: Cells, into: int, other: int) -> None:
    """Extend row ``into`` of ``box`` (x0, y0, x1, y1) by row ``other``."""
    box[into, 0] = min(box[into, 0], box[other, 0])
    box[into, 1] = min(box[into, 1], box[other, 1])
    box[into, 2] = max(box[into, 2], box[other, 2])
    box[into, 3] = max(box[into, 3], box[other, 3])


@kernel
def components(h: int, w: int, order: Cells, start: Ints, forest: Forest, gt: Ints, curves: LevelCurves) -> None:
    """Best IoU over the 8-connected components of {values > l}, and IoU of the one of largest polygon area.

    A component's doubled area counts its 2×2 quads: 3 pixels set add 1, 4 set add 2. Among equal areas the component
    whose raster-first pixel is last wins (``max`` takes OpenCV's first, which is the last found).
    """
    parent, box, area2, first, roots, cached = forest
    multi, single, single_first = curves
    wp = w + 2
    parent[:] = -1
    alive, gt_first = 0, gt[:1]
    empty, empty_first = best_iou(0, 0, 0, 0, gt), best_iou(0, 0, 0, 0, gt_first)
    multi[255], single[255], single_first[255] = empty, empty, empty_first
    around = np.array([-wp - 1, -wp, -wp + 1, -1, 1, wp - 1, wp, wp + 1])
    for value in range(255, 0, -1):
        level = value - 1
        if start[value] == start[value + 1]:
            multi[level], single[level], single_first[level] = multi[value], single[value], single_first[value]
            continue
        for k in range(start[value], start[value + 1]):
            c = int(order[k])
            y, x = c // wp - 1, c % wp - 1
            parent[c] = c
            box[c, 0], box[c, 1], box[c, 2], box[c, 3] = x, y, x, y
            area2[c], first[c], cached[c] = 0, c, -1.0
            root, is_new = c, True
            for j in range(8):
                n = c + around[j]
                if parent[n] < 0:
                    continue
                other = find(parent, n)
                if other == root:
                    continue
                # The older root survives, so that a new pixel never enters the list of live roots.
                if is_new or area2[other] > area2[root]:
                    root, other = other, root
                is_new = False
                parent[other] = root
                merge_bounds(box, root, other)
                area2[root] += area2[other]
                first[root] = min(first[root], first[other])
            if is_new:
                roots[alive] = c
                alive += 1
            n_, s_, w_, e_ = parent[c - wp] >= 0, parent[c + wp] >= 0, parent[c - 1] >= 0, parent[c + 1] >= 0
            gained = 0
            gained += int(n_) + int(w_) + int(parent[c - wp - 1] >= 0) >= 2
            gained += int(n_) + int(e_) + int(parent[c - wp + 1] >= 0) >= 2
            gained += int(s_) + int(w_) + int(parent[c + wp - 1] >= 0) >= 2
            gained += int(s_) + int(e_) + int(parent[c + wp + 1] >= 0) >= 2
            area2[root] += gained
            cached[root] = -1.0
        kept, best, winner = 0, 0.0, -1
        for k in range(alive):
            r = int(roots[k])
            if parent[r] != r:
                continue
            roots[kept] = r
            kept += 1
            if cached[r] < 0.0:
                cached[r] = component_iou(box[r, 0], box[r, 1], box[r, 2], box[r, 3], h, w, gt)
            best = max(best, cached[r])
            if winner < 0 or area2[r] > area2[winner] or (area2[r] == area2[winner] and first[r] > first[winner]):
                winner = r
        alive = kept
        multi[level], single[level] = best, cached[winner]
        single_first[level] = component_iou(
            box[winner, 0], box[winner, 1], box[winner, 2], box[winner, 3], h, w, gt_first
        )


@kernel
def holes(h: int, w: int, order: Cells, start: Ints, forest: Forest, gt: Ints, multi: Floats) -> bool:
    """Raise ``multi[l]`` to the best IoU over the holes of {values > l}; True if any level has a hole.

    A hole is a 4-connected component of {values <= l} that does not touch the frame, cell 0 and the margin here.
    """
    parent, box, roots, cached = forest.parent, forest.box, forest.roots, forest.cached
    wp = w + 2
    parent[:] = -1
    parent[:wp] = 0
    parent[(h + 1) * wp :] = 0
    for y in range(1, h + 1):
        parent[y * wp], parent[y * wp + w + 1] = 0, 0
    alive, any_hole, best = 0, False, 0.0
    around = np.array([-wp, -1, 1, wp])
    for level in range(255):
        if start[level] == start[level + 1]:
            multi[level] = max(multi[level], best)
            continue
        for k in range(start[level], start[level + 1]):
            c = int(order[k])
            y, x = c // wp - 1, c % wp - 1
            parent[c] = c
            box[c, 0], box[c, 1], box[c, 2], box[c, 3] = x, y, x, y
            cached[c] = -1.0
            root, is_new = c, True
            for j in range(4):
                n = c + around[j]
                if parent[n] < 0:
                    continue
                other = find(parent, n)
                if other == root:
                    continue
                if other == 0 or (is_new and root != 0):
                    root, other = other, root
                is_new = False
                parent[other] = root
                if root != 0:
                    merge_bounds(box, root, other)
            if is_new:
                roots[alive] = c
                alive += 1
            cached[root] = -1.0
        kept, best = 0, 0.0
        for k in range(alive):
            r = int(roots[k])
            if parent[r] != r:
                continue
            roots[kept] = r
            kept += 1
            if cached[r] < 0.0:
                cached[r] = hole_iou(box[r, 0], box[r, 1], box[r, 2], box[r, 3], h, w, gt)
            best = max(best, cached[r])
        alive = kept
        any_hole = any_hole or alive > 0
        multi[level] = max(multi[level], best)
    return any_hole


@kernel
def fill_holes(values: Bytes, h: int, w: int, link: Cells, filled: Bytes) -> None:
    """``filled[c]`` = min over 4-connected paths from c to the frame of the path's maximum, by a bucket queue."""
    wp = w + 2
    head = np.full(256, -1, np.int32)
    link[:] = -2
    link[:wp] = -1
    link[(h + 1) * wp :] = -1
    for y in range(1, h + 1):
        link[y * wp], link[y * wp + w + 1] = -1, -1
    for y in range(1, h + 1):
        for x in range(1, w + 1):
            if y == 1 or y == h or x == 1 or x == w:
                c = y * wp + x
                filled[c] = values[c]
                link[c] = head[values[c]]
                head[values[c]] = c
    around = np.array([-wp, -1, 1, wp])
    for level in range(256):
        while head[level] >= 0:
            c = int(head[level])
            head[level] = link[c]
            for j in range(4):
                n = c + around[j]
                if link[n] == -2:
                    reached = max(int(values[n]), level)
                    filled[n] = reached
                    link[n] = head[reached]
                    head[reached] = n


@kernel
def maxtree_batch(
    levels: npt.NDArray[np.uint8], gt: Ints, offsets: Ints, multi: Floats, single: Floats, single_first: Floats,
    done: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    """Level curves (B,256) of the maps (B,H,W) that are not ``done``; image b owns rows ``offsets[b]:offsets[b+1]``
    of ``gt`` (M,4)."""
    count, h, w = levels.shape
    cells = (h + 2) * (w + 2)
    values, filled = np.zeros(cells, np.uint8), np.zeros(cells, np.uint8)
    order, start, unused = np.empty(h * w, np.int32), np.empty(257, np.int64), np.empty(256, np.float64)
    forest = Forest(
        np.empty(cells, np.int32),
        np.empty((cells, 4), np.int32),
        np.empty(cells, np.int32),
        np.empty(cells, np.int32),
        np.empty(cells, np.int32),
        np.empty(cells, np.float64),
    )
    for b in range(count):
        if done[b]:
            continue
        for y in range(h):
            for x in range(w):
                values[(y + 1) * (w + 2) + x + 1] = levels[b, y, x]
        boxes = gt[offsets[b] : offsets[b + 1]]
        sort_cells(values, h, w, order, start)
        components(h, w, order, start, forest, boxes, LevelCurves(multi[b], single[b], single_first[b]))
        if holes(h, w, order, start, forest, boxes, multi[b]):
            fill_holes(values, h, w, forest.parent, filled)
            sort_cells(filled, h, w, order, start)
            components(h, w, order, start, forest, boxes, LevelCurves(unused, single[b], single_first[b]))
