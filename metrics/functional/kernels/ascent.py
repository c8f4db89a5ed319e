"""Algorithm B, first half: the peaks of a map, the saddles that join them, and the basin of every pixel.

Pixels are ordered by (value, index), so that no two are equal. Inserted from the highest down, a pixel starts a
component if none of its neighbours is higher (a *peak*), and can join components only if its higher neighbours fall
apart within its 3×3 ring (a *join*). Both are found by comparing bytes; from a join, a path of ascending pixels leads
to the peak of each side. Some hundred joins thus give the merge tree that union-find builds from all pixels.

A map is an image with a margin of one pixel of value 0. Pixels of value 0 are in no level set and are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....jit import kernel
from .maxtree import find

Image = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.int32]

INDEX_BITS = 18
"""A key is value << 18 | pixel index: sides up to 512."""
INDEX_MASK = (1 << INDEX_BITS) - 1
FRAME = 256
"""Peak value of basin 0 of the background: the frame around the image, higher than every pixel."""
MAX_RAW = 4096
"""Peaks before plateaus are merged; a map with more is left to algorithm T."""
MAX_EDGES = 16384
MAX_BASINS = 255
"""BasinArrays after plateaus are merged; a map with more is left to algorithm T."""


class Scratch(NamedTuple):
    """Scratch of ``basins_of``."""

    flags: Flags
    """By pixel, in a multiple of 8 entries; all beyond the image are 0."""
    keys: Cells
    wide: Cells
    up: Cells
    """By pixel: the next one on the way up, or -1 - basin."""
    parent: Cells
    edges: Cells
    """(MAX_EDGES,3) basins that a saddle joins, and its value."""
    rank: Cells


class BasinArrays(NamedTuple):
    """The basins of a map: ``basins_of`` fills it."""

    peak: Cells
    """Highest value of each."""
    tree: Cells
    """(MAX_BASINS,3) basins that a saddle joins, and its value, by falling value."""
    labels: Image
    """(H,W) basin of each pixel, where there is more than one."""


@kernel
def pad_into(values: Image, invert: bool, padded: Image) -> None:
    """Copy values (H,W), or 255 − values, into the inside of ``padded`` (H+2,W+2), whose margin stays 0."""
    h, w = values.shape
    flip = np.uint8(255 if invert else 0)
    for y in range(h):
        source, target = values[y], padded[y + 1, 1 : w + 1]
        for x in range(w):
            target[x] = source[x] ^ flip


@kernel
def ascend(padded: Image, eight: bool, keys: Cells, wide: Cells, up: Cells) -> None:
    """``up[p]`` = index of the highest of pixel p and its 8 or 4 neighbours; ``keys``, ``wide`` (3,W+2) are scratch."""
    h, w = padded.shape[0] - 2, padded.shape[1] - 2
    keys[:] = 0
    wide[:] = 0
    for y in range(h + 1):
        slot = y % 3
        if y < h:
            source, inner, base = padded[y + 1, 1 : w + 1], keys[slot, 1 : w + 1], y * w
            for x in range(w):
                inner[x] = (np.int32(source[x]) << INDEX_BITS) | np.int32(base + x)
            left, right, out = keys[slot, :w], keys[slot, 2 : w + 2], wide[slot]
            for x in range(w):
                out[x] = max(max(left[x], inner[x]), right[x])
        else:
            keys[slot] = 0
            wide[slot] = 0
        if y > 0:
            target, middle = up[(y - 1) * w : y * w], wide[(y + 2) % 3]
            if eight:
                above, below = wide[(y + 1) % 3, :w], wide[slot, :w]
            else:
                above, below = keys[(y + 1) % 3, 1 : w + 1], keys[slot, 1 : w + 1]
            for x in range(w):
                target[x] = max(max(above[x], middle[x]), below[x]) & INDEX_MASK


@kernel
def mark8(padded: Image, flags: Flags) -> None:
    """``flags[p]``: 1 peak, 2 join, 0 neither, for 8-connected components (Yokoi's number of the higher ring)."""
    h, w = padded.shape[0] - 2, padded.shape[1] - 2
    for y in range(h):
        above, here, below = padded[y], padded[y + 1], padded[y + 2]
        a0, a1, a2 = above[:w], above[1 : w + 1], above[2 : w + 2]
        h0, h1, h2 = here[:w], here[1 : w + 1], here[2 : w + 2]
        b0, b1, b2 = below[:w], below[1 : w + 1], below[2 : w + 2]
        out = flags[y * w : (y + 1) * w]
        for x in range(w):
            v = h1[x]
            # Of equal values the later index is the higher one.
            nw, n, ne, west = a0[x] > v, a1[x] > v, a2[x] > v, h0[x] > v
            east, sw, s, se = h2[x] >= v, b0[x] >= v, b1[x] >= v, b2[x] >= v
            parts = np.uint8((not east) & (ne | n)) + np.uint8((not n) & (nw | west))
            parts += np.uint8((not west) & (sw | s)) + np.uint8((not s) & (se | east))
            peak = not (nw | n | ne | west | east | sw | s | se)
            out[x] = np.uint8(v > 0) * (np.uint8(peak) + np.uint8(2) * np.uint8(parts >= 2))


@kernel
def mark4(padded: Image, flags: Flags) -> None:
    """Like ``mark8`` for 4-connected components; every border pixel is a join, with the frame as one side."""
    h, w = padded.shape[0] - 2, padded.shape[1] - 2
    for y in range(h):
        above, here, below = padded[y], padded[y + 1], padded[y + 2]
        a0, a1, a2 = above[:w], above[1 : w + 1], above[2 : w + 2]
        h0, h1, h2 = here[:w], here[1 : w + 1], here[2 : w + 2]
        b0, b1, b2 = below[:w], below[1 : w + 1], below[2 : w + 2]
        out = flags[y * w : (y + 1) * w]
        for x in range(w):
            v = h1[x]
            nw, n, ne, west = a0[x] > v, a1[x] > v, a2[x] > v, h0[x] > v
            east, sw, s, se = h2[x] >= v, b0[x] >= v, b1[x] >= v, b2[x] >= v
            parts = np.uint8(east & (not (ne & n))) + np.uint8(n & (not (nw & west)))
            parts += np.uint8(west & (not (sw & s))) + np.uint8(s & (not (se & east)))
            peak = not (n | west | east | s)
            out[x] = np.uint8(v > 0) * (np.uint8(peak) + np.uint8(2) * np.uint8(parts >= 2))
        out[0], out[w - 1] = 2 * (h1[0] > 0), 2 * (h1[w - 1] > 0)
        if y == 0 or y == h - 1:
            for x in range(w):
                out[x] = 2 * (h1[x] > 0)


@kernel
def climb(up: Cells, p: int) -> int:
    """−1 − basin of pixel p, or the index of its peak if that has no number yet; the path then points there."""
    top = int(up[p])
    if top < 0:
        return top
    while top >= 0 and up[top] != top:
        top = int(up[top])
    following = int(up[p])
    while following >= 0 and following != top:
        up[p] = top
        p = following
        following = int(up[p])
    return top


@kernel
def basin_at(padded: Image, w: int, p: int, up: Cells, peak: Cells, parent: Cells, count: int) -> int:
    """Basin of pixel p; ``count`` (the number of basins so far) where its peak is met for the first time."""
    top = climb(up, p)
    if top < 0:
        return -1 - top
    peak[count], parent[count] = padded[top // w + 1, top % w + 1], count
    up[top] = -1 - count
    return count


@kernel
def join(a: int, b: int, value: int, parent: Cells, peak: Cells, edges: Cells, count: int) -> int:
    """Merge two basins if their saddle is one's own peak (a plateau), else note the edge; returns the edge count."""
    ra, rb = find(parent, a), find(parent, b)
    if ra == rb:
        return count
    if peak[ra] < peak[rb] or (peak[ra] == peak[rb] and ra > rb):
        ra, rb = rb, ra
    if value == peak[rb]:
        parent[rb] = ra
        return count
    edges[count, 0], edges[count, 1], edges[count, 2] = ra, rb, value
    return count + 1


@kernel
def join_basins(
    padded: Image, eight: bool, flags: Flags, up: Cells, peak: Cells, parent: Cells, edges: Cells, raw: int
) -> tuple[int, int]:
    """Number the peaks from ``raw`` on, merge plateaus, list saddles; returns (raw basins, edges), (−1, 0) if too many.

    ``flags`` has a multiple of 8 entries; all beyond the image are 0.
    """
    h, w = padded.shape[0] - 2, padded.shape[1] - 2
    step_y = np.array([0, -1, 0, 1, -1, -1, 1, 1])
    step_x = np.array([1, 0, -1, 0, 1, -1, -1, 1])
    count, neighbours = 0, 8 if eight else 4
    words = flags.view(np.uint64)
    for word in range(len(words)):
        if words[word] == 0:
            continue
        for p in range(8 * word, 8 * word + 8):
            if flags[p] == 0:
                continue
            if raw > MAX_RAW - 16 or count > MAX_EDGES - 16:
                return -1, 0
            if flags[p] == 1:
                raw = max(raw, 1 + basin_at(padded, w, p, up, peak, parent, raw))
                continue
            y, x = p // w, p % w
            value = int(padded[y + 1, x + 1])
            # A border pixel of the background hangs on the frame, basin 0.
            first = -1 if eight or (0 < y < h - 1 and 0 < x < w - 1) else 0
            for j in range(neighbours):
                ny, nx = y + step_y[j], x + step_x[j]
                if ny < 0 or nx < 0 or ny == h or nx == w:
                    continue
                n, other = ny * w + nx, int(padded[ny + 1, nx + 1])
                if other < value or (other == value and n < p):
                    continue
                basin = basin_at(padded, w, n, up, peak, parent, raw)
                raw = max(raw, basin + 1)
                if first < 0:
                    first = basin
                elif basin != first:
                    count = join(first, basin, value, parent, peak, edges, count)
    return raw, count


@kernel
def spanning_tree(parent: Cells, peak: Cells, raw: int, edges: Cells, count: int, rank: Cells, tree: Cells) -> int:
    """Number the merged basins (``rank``; their peaks move to the front of ``peak``) and keep the edges that join them.

    ``tree`` holds the edges by falling value, one fewer than there are basins; value 0 stands for no edge. Returns
    the number of basins, or −1 if there are more than algorithm B takes.
    """
    basins = 0
    for k in range(raw):
        if parent[k] == k:
            if basins == MAX_BASINS:
                return -1
            rank[k] = basins
            peak[basins] = peak[k]
            basins += 1
    for k in range(raw):
        rank[k] = rank[find(parent, k)]
    if basins <= 1:
        return basins
    start = np.zeros(258, np.int64)
    for e in range(count):
        start[256 - edges[e, 2]] += 1
    for v in range(257):
        start[v + 1] += start[v]
    order = np.empty(count, np.int32)
    for e in range(count - 1, -1, -1):
        slot = 256 - edges[e, 2]
        start[slot] -= 1
        order[start[slot]] = e
    group = np.arange(basins).astype(np.int32)
    kept = 0
    for i in range(count):
        e = order[i]
        a, b = int(rank[edges[e, 0]]), int(rank[edges[e, 1]])
        ra, rb = find(group, a), find(group, b)
        if ra != rb:
            group[max(ra, rb)] = min(ra, rb)
            tree[kept, 0], tree[kept, 1], tree[kept, 2] = a, b, edges[e, 2]
            kept += 1
    for i in range(kept, basins - 1):
        tree[i, 0], tree[i, 1], tree[i, 2] = 0, 0, 0
    return basins


@kernel
def label_pixels(padded: Image, up: Cells, rank: Cells, labels: Image) -> None:
    """``labels`` (H,W) = basin of every pixel; 0 where the value is 0."""
    h, w = labels.shape
    for y in range(h):
        line, out = padded[y + 1, 1 : w + 1], labels[y]
        for x in range(w):
            p = y * w + x
            top = int(up[p])
            if top >= 0:
                if line[x] == 0:
                    out[x] = 0
                    continue
                top = int(up[top])
                if top >= 0:
                    top = climb(up, p)
                up[p] = top
            out[x] = rank[-1 - top]


@kernel
def basins_of(padded: Image, holes: bool, scratch: Scratch, found: BasinArrays) -> int:
    """Number of basins of a map (or, with ``holes``, of its 4-connected background with the frame as basin 0).

    −1: too many.
    """
    flags, keys, wide, up, parent, edges, rank = scratch
    peak, tree, labels = found
    h, w = labels.shape
    ascend(padded, not holes, keys, wide, up)
    raw = 0
    if holes:
        mark4(padded, flags)
        peak[0], parent[0], raw = FRAME, 0, 1
        up[:w] = -1
        up[(h - 1) * w : h * w] = -1
        for y in range(h):
            up[y * w] = -1
            up[y * w + w - 1] = -1
    else:
        mark8(padded, flags)
    raw, count = join_basins(padded, not holes, flags, up, peak, parent, edges, raw)
    if raw < 0:
        return -1
    basins = spanning_tree(parent, peak, raw, edges, count, rank, tree)
    if basins > 1:
        label_pixels(padded, up, rank, labels)
    return basins
