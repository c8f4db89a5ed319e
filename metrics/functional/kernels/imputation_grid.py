"""Grids of ROAD's imputation on the CPU: four planes a resolution, one for each parity of row and column.

The planes have the shape of the grid at half of the resolution, and a border of zeros; those of all levels stand one
after the other in flat arrays (4,cells).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....jit import kernel

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
SIXTH, TWELFTH = np.float32(1 / 6), np.float32(1 / 12)
"""Weights of the neighbours beside a cell and across its corners."""
BASE, STRIDE, ROWS, COLUMNS, HIGH, WIDE, START, STOP = range(8)
"""Facts of a level: where it begins, a plane's stride, rows and columns, the grid's, the cells that are swept."""


@kernel
def level_table(height: int, width: int, halvings: int) -> tuple[Ints, int]:
    """The facts of every level, (halvings+1,8), and the cells of all of them."""
    levels, cells, high, wide = np.zeros((halvings + 1, 8), np.int64), 0, height, width
    for level in range(halvings + 1):
        rows, columns = (high + 1) // 2, (wide + 1) // 2
        levels[level] = np.array([cells, columns + 2, rows, columns, high, wide, 0, 0])
        cells += (rows + 2) * (columns + 2)
        high, wide = rows, columns
    return levels, cells


@kernel
def neighbour_weights(levels: Ints, cells: int) -> Floats:
    """Sum of the weights of a cell's neighbours inside the image: one, except along the border."""
    weights = np.ones((4, cells), np.float32)
    for level in range(len(levels)):
        at = levels[level]
        for row in range(at[HIGH]):
            step = 1 if row == 0 or row == at[HIGH] - 1 else max(1, at[WIDE] - 1)
            for column in range(0, at[WIDE], step):
                total = np.float32(0)
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        inside = 0 <= row + dy < at[HIGH] and 0 <= column + dx < at[WIDE]
                        if inside and (dy != 0 or dx != 0):
                            total += TWELFTH if dy != 0 and dx != 0 else SIXTH
                place = at[BASE] + (row // 2 + 1) * at[STRIDE] + column // 2 + 1
                weights[2 * (row % 2) + column % 2, place] = max(total, TWELFTH)
    return weights


@kernel
def split_grid(grid: Floats, planes: Floats, at: Ints, offset: int) -> None:
    """The four planes of a level, of its grid, which begins at ``offset``; both have a border."""
    for row in range(at[HIGH]):
        source = offset + (row + 1) * (at[WIDE] + 2) + 1
        target = at[BASE] + (row // 2 + 1) * at[STRIDE] + 1
        for parity in range(2):
            plane = planes[2 * (row % 2) + parity]
            for n in range((at[WIDE] + 1 - parity) // 2):
                plane[np.uintp(target + n)] = grid[np.uintp(source + 2 * n + parity)]


@kernel
def join_planes(planes: Floats, grid: Floats, at: Ints, offset: int) -> None:
    """The grid of a level, beginning at ``offset``, of its four planes."""
    for row in range(at[HIGH]):
        source = at[BASE] + (row // 2 + 1) * at[STRIDE] + 1
        target = offset + (row + 1) * (at[WIDE] + 2) + 1
        for parity in range(2):
            plane = planes[2 * (row % 2) + parity]
            for n in range((at[WIDE] + 1 - parity) // 2):
                grid[np.uintp(target + 2 * n + parity)] = plane[np.uintp(source + n)]


@kernel
def make_masks(
    missing: npt.NDArray[np.bool_],
    holes: Floats,
    have: Floats,
    free: Floats,
    weights: Floats,
    grid: Floats,
    levels: Ints,
) -> None:
    """Missing cells and known pixels of every level, ``free``: missing by weight, and the cells that are swept."""
    holes[:], have[:] = 0, 0
    for level in range(len(levels)):
        at = levels[level]
        first, last = at[ROWS], -1
        for row in range(at[HIGH]):
            for column in range(at[WIDE]):
                place, k = at[BASE] + (row // 2 + 1) * at[STRIDE] + column // 2 + 1, 2 * (row % 2) + column % 2
                if level == 0:
                    known = np.float32(0 if missing[row, column] else 1)
                else:
                    above = levels[level - 1]
                    known = grid[above[BASE] + (row + 1) * above[STRIDE] + column + 1]
                have[k, place], holes[k, place] = known, 0 if known > 0 else 1
                if known == 0:
                    first, last = min(first, row // 2), row // 2
        at[START], at[STOP] = at[BASE] + (first + 1) * at[STRIDE] + 1, at[BASE] + (last + 2) * at[STRIDE] - 1
        for i in range(at[BASE], at[BASE] + (at[ROWS] + 2) * at[STRIDE]):
            grid[i] = have[0, i] + have[1, i] + have[2, i] + have[3, i]
            for k in range(4):
                free[k, i] = holes[k, i] / weights[k, i]


@kernel
def known_sums(image: Floats, holes: Floats, work: Floats, grid: Floats, levels: Ints) -> None:
    """Sums of the known pixels under every cell of every level, as the fifth array of ``work``."""
    sums, at = work[4], levels[0]
    for row in range(at[HIGH]):
        target = at[BASE] + (row // 2 + 1) * at[STRIDE] + 1
        for column in range(at[WIDE]):
            k, i = 2 * (row % 2) + column % 2, target + column // 2
            sums[k, i] = image[row, column] if holes[k, i] == 0 else 0
    for level in range(len(levels) - 1):
        at = levels[level]
        for i in range(at[BASE], at[BASE] + (at[ROWS] + 2) * at[STRIDE]):
            grid[i] = sums[0, i] + sums[1, i] + sums[2, i] + sums[3, i]
        split_grid(grid, sums, levels[level + 1], at[BASE])
