"""Algorithm B, second half: level curves from the basins of a map, exact, and fast where the map is smooth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....jit import kernel
from .ascent import MAX_BASINS, MAX_EDGES, MAX_RAW, BasinArrays, Scratch, basins_of, pad_into
from .basin_tables import extents, quad_areas
from .contours import LevelCurves, best_iou, component_iou, hole_iou
from .maxtree import find, merge_bounds

Image = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.int32]
Table = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@kernel
def first_column(padded: Image, labels: Image, group: Cells, root: int, y: int, value: int) -> int:
    """Column of the raster-first pixel of component ``root`` of {map >= value}, whose first row is y."""
    x = 0
    while padded[y + 1, x + 1] < value or find(group, int(labels[y, x])) != root:
        x += 1
    return x


@kernel
def sweep_components(
    padded: Image,
    basins: int,
    found: BasinArrays,
    table: Table,
    areas: Cells,
    want: tuple[bool, bool],
    gt: Ints,
    curves: LevelCurves,
) -> None:
    """Level curves of the components of a map from its basins, values falling from 255 to 1.

    ``areas`` is read at the levels with several components only; ``want`` says whether ``multi`` and the two others
    are filled.
    """
    peak, tree, labels = found
    multi, single, single_first = curves
    want_multi, want_single = want
    h, w = labels.shape
    group = np.arange(basins).astype(np.int32)
    box, area2, cached = np.empty((basins, 4), np.int32), np.zeros(basins, np.int64), np.empty(basins)
    gt_first = gt[:1]
    for k in range(basins):
        box[k, 0], box[k, 1], box[k, 2], box[k, 3] = w, h, -1, -1
    joined = 0
    best, of_single = best_iou(0, 0, 0, 0, gt), best_iou(0, 0, 0, 0, gt)
    of_first = best_iou(0, 0, 0, 0, gt_first)
    if want_multi:
        multi[255] = best
    if want_single:
        single[255], single_first[255] = of_single, of_first
    for value in range(255, 0, -1):
        while joined < basins - 1 and tree[joined, 2] == value:
            a, b = find(group, int(tree[joined, 0])), find(group, int(tree[joined, 1]))
            into, other = min(a, b), max(a, b)
            group[other] = into
            merge_bounds(box, into, other)
            area2[into] += area2[other]
            cached[into] = -1.0
            joined += 1
        active = 0
        for k in range(basins):
            if peak[k] < value:
                continue
            root = find(group, k)
            active += root == k
            entry = table[k, value]
            area2[root] += areas[k, value]
            if entry[2] >= 0 or entry[3] >= 0:
                box[root, 0] = min(box[root, 0], int(entry[0]))
                box[root, 1] = min(box[root, 1], int(entry[1]))
                box[root, 2] = max(box[root, 2], int(entry[2]))
                box[root, 3] = max(box[root, 3], int(entry[3]))
                cached[root] = -1.0
        winner, stale = -1, False
        if active:
            best = 0.0
            for k in range(basins):
                if peak[k] < value or group[k] != k:
                    continue
                if cached[k] < 0.0:
                    stale = True
                    cached[k] = component_iou(box[k, 0], box[k, 1], box[k, 2], box[k, 3], h, w, gt)
                best = max(best, cached[k])
                if not want_single:
                    continue
                if winner < 0 or area2[k] > area2[winner]:
                    winner = k
                elif area2[k] == area2[winner]:
                    later = box[k, 1] > box[winner, 1]
                    if box[k, 1] == box[winner, 1]:
                        y = int(box[k, 1])
                        later = first_column(padded, labels, group, k, y, value) > first_column(
                            padded, labels, group, winner, y, value
                        )
                    if later:
                        winner = k
            if want_single and (stale or active > 1):
                of_single = cached[winner]
                of_first = component_iou(box[winner, 0], box[winner, 1], box[winner, 2], box[winner, 3], h, w, gt_first)
        if want_multi:
            multi[value - 1] = best
        if want_single:
            single[value - 1], single_first[value - 1] = of_single, of_first


@kernel
def sweep_holes(basins: int, found: BasinArrays, table: Table, gt: Ints, multi: Floats, reached: Cells) -> None:
    """Raise ``multi`` by the holes; ``reached[k]`` = value (of 255 − map) at which basin k joins the frame, basin 0."""
    peak, tree, labels = found
    h, w = labels.shape
    group = np.arange(basins).astype(np.int32)
    box, cached = np.empty((basins, 4), np.int32), np.empty(basins)
    for k in range(basins):
        box[k, 0], box[k, 1], box[k, 2], box[k, 3] = w, h, -1, -1
        reached[k] = 0
    joined = 0
    reached[0] = 256
    for value in range(255, 0, -1):
        while joined < basins - 1 and tree[joined, 2] == value:
            a, b = find(group, int(tree[joined, 0])), find(group, int(tree[joined, 1]))
            into, other = min(a, b), max(a, b)
            if into == 0:
                for k in range(basins):
                    if find(group, k) == other:
                        reached[k] = value
            group[other] = into
            merge_bounds(box, into, other)
            cached[into] = -1.0
            joined += 1
        best = 0.0
        for k in range(1, basins):
            if peak[k] < value:
                continue
            root = find(group, k)
            entry = table[k, value]
            if root != 0 and (entry[2] >= 0 or entry[3] >= 0):
                box[root, 0] = min(box[root, 0], int(entry[0]))
                box[root, 1] = min(box[root, 1], int(entry[1]))
                box[root, 2] = max(box[root, 2], int(entry[2]))
                box[root, 3] = max(box[root, 3], int(entry[3]))
                cached[root] = -1.0
        for k in range(1, basins):
            if peak[k] < value or group[k] != k:
                continue
            if cached[k] < 0.0:
                cached[k] = hole_iou(box[k, 0], box[k, 1], box[k, 2], box[k, 3], h, w, gt)
            best = max(best, cached[k])
        multi[255 - value] = max(multi[255 - value], best)


@kernel
def fill_from(values: Image, hole_labels: Image, reached: Cells, padded: Image) -> None:
    """``padded`` = the map with holes filled: max(value, 255 − value at which the pixel's hole joins the frame)."""
    h, w = values.shape
    for y in range(h):
        source, label, target = values[y], hole_labels[y], padded[y + 1, 1 : w + 1]
        for x in range(w):
            target[x] = max(int(source[x]), 255 - reached[label[x]])


@kernel
def basins_batch(
    levels: npt.NDArray[np.uint8], gt: Ints, offsets: Ints, multi: Floats, single: Floats, single_first: Floats,
    done: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    """Level curves (B,256) of the maps (B,H,W) that have few basins; ``done`` (B,) says which."""
    count, h, w = levels.shape
    padded, reached = np.zeros((h + 2, w + 2), np.uint8), np.empty(MAX_BASINS, np.int32)
    scratch = Scratch(
        np.zeros((h * w + 7) // 8 * 8, np.uint8),
        np.empty((3, w + 2), np.int32),
        np.empty((3, w + 2), np.int32),
        np.empty(h * w, np.int32),
        np.empty(MAX_RAW, np.int32),
        np.empty((MAX_EDGES, 3), np.int32),
        np.empty(MAX_RAW, np.int32),
    )
    found = BasinArrays(np.empty(MAX_RAW, np.int32), np.empty((MAX_BASINS, 3), np.int32), np.zeros((h, w), np.uint8))
    pits = BasinArrays(np.empty(MAX_RAW, np.int32), np.empty((MAX_BASINS, 3), np.int32), np.zeros((h, w), np.uint8))
    table, areas = np.empty((MAX_BASINS, 256, 4), np.int16), np.zeros((MAX_BASINS, 256), np.int32)
    pit_table = np.empty((MAX_BASINS, 256, 4), np.int16)
    for b in range(count):
        values, boxes = levels[b], gt[offsets[b] : offsets[b + 1]]
        curves = LevelCurves(multi[b], single[b], single_first[b])
        pad_into(values, True, padded)
        sinks = basins_of(padded, True, scratch, pits)
        if sinks < 0:
            continue
        if sinks > 1:
            extents(padded, pits.labels, sinks, 1, pit_table)
        pad_into(values, False, padded)
        basins = basins_of(padded, False, scratch, found)
        if basins < 0:
            continue
        extents(padded, found.labels, basins, 0, table)
        both = sinks == 1 or basins <= 1
        if both and basins > 1:
            areas[:basins] = 0
            quad_areas(padded, found.labels, found.tree[basins - 2, 2] + 1, areas)
        sweep_components(padded, basins, found, table, areas, (True, both), boxes, curves)
        if sinks > 1:
            sweep_holes(sinks, pits, pit_table, boxes, multi[b], reached)
        if not both:
            fill_from(values, pits.labels, reached, padded)
            basins = basins_of(padded, False, scratch, found)
            if basins < 0:
                continue
            extents(padded, found.labels, basins, 0, table)
            if basins > 1:
                areas[:basins] = 0
                quad_areas(padded, found.labels, found.tree[basins - 2, 2] + 1, areas)
            sweep_components(padded, basins, found, table, areas, (False, True), boxes, curves)
        done[b] = True
