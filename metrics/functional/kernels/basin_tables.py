"""Algorithm B: where the basins of a map reach, and what polygon area they add, value by value."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....jit import kernel

Image = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.int32]
Table = npt.NDArray[np.int16]


@kernel
def row_and_column_maxima(padded: Image, labels: Image, basins: int, skip: int, rows: Image, columns: Image) -> None:
    """``rows[k, y]``, ``columns[k, x]`` = largest value of basin k in a row or column, 0 where it has none."""
    h, w = labels.shape
    for y in range(h):
        line = padded[y + 1, 1 : w + 1]
        if basins == 1:
            best, column = np.uint8(0), columns[0]
            for x in range(w):
                column[x] = max(column[x], line[x])
            for x in range(w):
                best = max(best, line[x])
            rows[0, y] = best
            continue
        label = labels[y]
        x = 0
        while x < w:
            k, begin = label[x], x
            x += 1
            while x < w and label[x] == k:
                x += 1
            if k < skip:
                continue
            part, column, best = line[begin:x], columns[k, begin:x], rows[k, y]
            for i in range(len(part)):
                column[i] = max(column[i], part[i])
            for i in range(len(part)):
                best = max(best, part[i])
            rows[k, y] = best


@kernel
def extents(padded: Image, labels: Image, basins: int, skip: int, table: Table) -> None:
    """``table[k, v]`` = x0, y0, x1, y1 of the rows and columns whose largest value within basin k is v.

    Basins below ``skip`` are left out. The extent of {basin k, value > t} joins the entries above t.
    """
    h, w = labels.shape
    rows, columns = np.zeros((basins, h), np.uint8), np.zeros((basins, w), np.uint8)
    if basins == 0:
        return
    row_and_column_maxima(padded, labels, basins, skip, rows, columns)
    for k in range(skip, basins):
        entry = table[k]
        entry[:, 0], entry[:, 1], entry[:, 2], entry[:, 3] = w, h, -1, -1
        for x in range(w):
            v = columns[k, x]
            entry[v, 0] = min(int(entry[v, 0]), x)
            entry[v, 2] = x
        for y in range(h):
            v = rows[k, y]
            entry[v, 1] = min(int(entry[v, 1]), y)
            entry[v, 3] = y


@kernel
def quad_areas(padded: Image, labels: Image, lowest: int, areas: Cells) -> None:
    """``areas[k, v]`` counts the 2×2 quads of basin k that gain a third or fourth pixel at value v >= ``lowest``.

    With sorted values v1 <= v2 <= v3 <= v4 a quad adds 1 to the doubled polygon area at v2 and 1 more at v1.
    """
    h, w = labels.shape
    thirds, fourths = np.empty(w, np.uint8), np.empty(w, np.uint8)
    for y in range(h - 1):
        a, c = padded[y + 1, 1:w], padded[y + 2, 1:w]
        b, d = padded[y + 1, 2 : w + 1], padded[y + 2, 2 : w + 1]
        for x in range(w - 1):
            low, high = min(a[x], b[x]), max(a[x], b[x])
            low2, high2 = min(c[x], d[x]), max(c[x], d[x])
            fourths[x] = min(low, low2)
            thirds[x] = min(max(low, low2), min(high, high2))
        label = labels[y]
        for x in range(w - 1):
            third = thirds[x]
            if third < lowest:
                continue
            # At most one of the four is below the second smallest value.
            areas[label[x] if a[x] >= third else label[x + 1], third] += 1
            areas[label[x], fourths[x]] += 1
