"""CPU kernel of ROAD's imputation: conjugate gradients whose V-cycle sweeps over four colours, a row of cells at once.

A grid is kept as four planes, one for each parity of row and column. All neighbours of a cell are then in the other
three, at its own place and one step further: a sweep over a plane is a plain loop that the compiler turns into vector
instructions, and a plane has the shape of the grid at half of the resolution. Planes have a border of zeros and stand
one level after the other in flat arrays (4,cells). Missing cells alone have values; the known ones are in the
right-hand side. The cycle sweeps the colours forwards before the coarse correction and backwards after it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....jit import kernel
from .imputation_grid import (
    BASE,
    HIGH,
    ROWS,
    SIXTH,
    START,
    STOP,
    STRIDE,
    TWELFTH,
    WIDE,
    Floats,
    Ints,
    join_planes,
    known_sums,
    level_table,
    make_masks,
    neighbour_weights,
    split_grid,
)

NEAR, BESIDE, ACROSS = np.float32(0.5625), np.float32(0.1875), np.float32(0.0625)
"""Bilinear weights of the parent, of its neighbours beside and across."""
SETTLE = 8
"""Sweeps in both directions on the coarsest grid."""
GUESS = 2
"""Sweeps in both directions that the first guess gets on the finest grid."""


@kernel
def fill_missing(images: Floats, missing: npt.NDArray[np.bool_], halvings: int, iterations: int) -> None:
    """Fill the missing pixels (B,H,W) of ``images`` (B,C,H,W), in place."""
    levels, cells = level_table(missing.shape[1], missing.shape[2], halvings)
    holes, have, weights = (
        np.zeros((4, cells), np.float32),
        np.zeros((4, cells), np.float32),
        neighbour_weights(levels, cells),
    )
    free, work = np.zeros((4, cells), np.float32), np.zeros((5, 4, cells), np.float32)
    grid = np.zeros(cells, np.float32)
    for image in range(len(images)):
        if not missing[image].any():
            continue
        make_masks(missing[image], holes, have, free, weights, grid, levels)
        for channel in range(images.shape[1]):
            work[:] = 0
            known_sums(images[image, channel], holes, work, grid, levels)
            _guess(work, have, holes, free, grid, levels)
            _solve(work, holes, free, weights, grid, levels, iterations)
            _write(images[image, channel], work[0], missing[image], levels)


@kernel
def _guess(work: Floats, have: Floats, holes: Floats, free: Floats, grid: Floats, levels: Ints) -> None:
    """A first solution (``work[0]``) and the right-hand side (``work[1]``): every level nearly solves its own system,
    in which what is known counts by its mean, before the next one starts from it."""
    x, right, known, last = work[0], work[1], work[4], len(levels) - 1
    at = levels[last]
    total, count = np.float32(0), np.float32(0)
    for k in range(4):
        for i in range(at[BASE], at[BASE] + (at[ROWS] + 2) * at[STRIDE]):
            total += known[k, i]
            count += have[k, i]
    for level in range(last, -1, -1):
        at = levels[level]
        for k in range(4):
            for i in range(at[BASE], at[BASE] + (at[ROWS] + 2) * at[STRIDE]):
                known[k, i] /= max(have[k, i], np.float32(1))
                parent = total / max(count, np.float32(1)) if level == last else grid[i]
                x[k, i] = holes[k, i] * parent
        for k in range(4):
            _around(known, holes, right, k, at)
        for _ in range(GUESS if level == 0 else SETTLE // 2):
            for k in range(4):
                _sweep(x, right, free, k, at)
            for k in range(3, -1, -1):
                _sweep(x, right, free, k, at)
        if level > 0:
            for k in range(4):
                for i in range(at[BASE], at[BASE] + (at[ROWS] + 2) * at[STRIDE]):
                    known[k, i] += x[k, i]
            join_planes(known, grid, at, levels[level - 1][BASE])


@kernel
def _around(x: Floats, holes: Floats, out: Floats, k: int, at: Ints) -> None:
    """The weighted sums of the neighbours of the missing cells of colour ``k``."""
    stride, one, first = np.uintp(at[STRIDE]), np.uintp(1), np.uintp(at[START])
    down, own, hole = stride if k > 1 else -stride, out[k], holes[k]
    vertical, side, across = x[k ^ 2], x[k ^ 1], x[k ^ 3]
    if k & 1:
        for n in range(at[STOP] - at[START]):
            i = first + np.uintp(n)
            beside = vertical[i] + vertical[i + down] + side[i] + side[i + one]
            corners = across[i] + across[i + one] + across[i + down] + across[i + down + one]
            own[i] = hole[i] * (beside * SIXTH + corners * TWELFTH)
    else:
        for n in range(at[STOP] - at[START]):
            i = first + np.uintp(n)
            beside = vertical[i] + vertical[i + down] + side[i] + side[i - one]
            corners = across[i] + across[i - one] + across[i + down] + across[i + down - one]
            own[i] = hole[i] * (beside * SIXTH + corners * TWELFTH)


@kernel
def _sweep(x: Floats, right: Floats, free: Floats, k: int, at: Ints) -> None:
    """Every missing cell of colour ``k`` as its neighbours want it."""
    stride, one, first = np.uintp(at[STRIDE]), np.uintp(1), np.uintp(at[START])
    down, own, give, share = stride if k > 1 else -stride, x[k], right[k], free[k]
    vertical, side, across = x[k ^ 2], x[k ^ 1], x[k ^ 3]
    if k & 1:
        for n in range(at[STOP] - at[START]):
            i = first + np.uintp(n)
            beside = vertical[i] + vertical[i + down] + side[i] + side[i + one]
            corners = across[i] + across[i + one] + across[i + down] + across[i + down + one]
            own[i] = share[i] * (give[i] + beside * SIXTH + corners * TWELFTH)
    else:
        for n in range(at[STOP] - at[START]):
            i = first + np.uintp(n)
            beside = vertical[i] + vertical[i + down] + side[i] + side[i - one]
            corners = across[i] + across[i - one] + across[i + down] + across[i + down - one]
            own[i] = share[i] * (give[i] + beside * SIXTH + corners * TWELFTH)


@kernel
def _first_sweep(x: Floats, right: Floats, free: Floats, at: Ints) -> None:
    """All colours from zero: each reads those before it alone, whatever stands in the others."""
    stride, one, first = np.uintp(at[STRIDE]), np.uintp(1), np.uintp(at[START])
    count = at[STOP] - at[START]
    x0, x1, x2, give, share = x[0], x[1], x[2], right[0], free[0]
    for n in range(count):
        i = first + np.uintp(n)
        x0[i] = share[i] * give[i]
    give, share = right[1], free[1]
    for n in range(count):
        i = first + np.uintp(n)
        x1[i] = share[i] * (give[i] + (x0[i] + x0[i + one]) * SIXTH)
    give, share = right[2], free[2]
    for n in range(count):
        i = first + np.uintp(n)
        corners = x1[i] + x1[i - one] + x1[i + stride] + x1[i + stride - one]
        x2[i] = share[i] * (give[i] + (x0[i] + x0[i + stride]) * SIXTH + corners * TWELFTH)
    _sweep(x, right, free, 3, at)


@kernel
def _coarse(x: Floats, holes: Floats, grid: Floats, at: Ints) -> None:
    """Sums of the residual under every cell of the next level, after a sweep from zero: what later colours add."""
    stride, one, first = np.uintp(at[STRIDE]), np.uintp(1), np.uintp(at[START])
    h0, h1, h2, x1, x2, x3 = holes[0], holes[1], holes[2], x[1], x[2], x[3]
    for n in range(at[STOP] - at[START]):
        i = first + np.uintp(n)
        above = i - stride
        beside, corners = x2[i] + x2[above] + x1[i] + x1[i - one], x3[i] + x3[i - one] + x3[above] + x3[above - one]
        total = h0[i] * (beside * SIXTH + corners * TWELFTH)
        corners = x2[i] + x2[i + one] + x2[above] + x2[above + one]
        total += h1[i] * ((x3[i] + x3[above]) * SIXTH + corners * TWELFTH)
        grid[i] = total + h2[i] * (x3[i] + x3[i - one]) * SIXTH


@kernel
def _correct(x: Floats, holes: Floats, grid: Floats, k: int, at: Ints) -> None:
    """Add the next level's solution to the missing cells of colour ``k``, bilinearly."""
    stride, one, first = np.uintp(at[STRIDE]), np.uintp(1), np.uintp(at[START])
    down, own, hole = stride if k > 1 else -stride, x[k], holes[k]
    right = one if k & 1 else -one
    for n in range(at[STOP] - at[START]):
        i = first + np.uintp(n)
        beside = grid[i + down] + grid[i + right]
        own[i] += hole[i] * (NEAR * grid[i] + BESIDE * beside + ACROSS * grid[i + down + right])


@kernel
def _cycle(x: Floats, right: Floats, holes: Floats, free: Floats, grid: Floats, levels: Ints) -> None:
    """``x`` near the solution for the right-hand side ``right`` of the finest level; both hold every level."""
    last = len(levels) - 1
    for level in range(last):
        at = levels[level]
        _first_sweep(x, right, free, at)
        _coarse(x, holes, grid, at)
        split_grid(grid, right, levels[level + 1], at[BASE])
    at = levels[last]
    _first_sweep(x, right, free, at)
    for _ in range(SETTLE):
        for k in range(3, -1, -1):
            _sweep(x, right, free, k, at)
        for k in range(4):
            _sweep(x, right, free, k, at)
    for level in range(last - 1, -1, -1):
        at = levels[level]
        join_planes(x, grid, levels[level + 1], at[BASE])
        # The sweep gives the last colour new values, whatever it has.
        for k in range(3):
            _correct(x, holes, grid, k, at)
        for k in range(3, -1, -1):
            _sweep(x, right, free, k, at)


@kernel
def _dot(a: Floats, b: Floats, at: Ints) -> float:
    """Σ a·b over the finest level: down the columns in float32, over these in float64."""
    columns, width = np.zeros(at[STRIDE], np.float32), np.uintp(at[STRIDE])
    for k in range(4):
        one, other = a[k], b[k]
        for row in range(1, at[ROWS] + 1):
            first = np.uintp(at[BASE] + row * at[STRIDE])
            for n in range(width):
                columns[np.uintp(n)] += one[first + np.uintp(n)] * other[first + np.uintp(n)]
    total = 0.0
    for n in range(at[STRIDE]):
        total += columns[n]
    return total


@kernel
def _solve(
    work: Floats, holes: Floats, free: Floats, weights: Floats, grid: Floats, levels: Ints, iterations: int
) -> None:
    """``work`` (5,4,cells): the solution, the residual, the V-cycle's step, the direction, and its image."""
    x, r, z, p, q = work[0], work[1], work[2], work[3], work[4]
    at = levels[0]
    first, count = np.uintp(at[START]), at[STOP] - at[START]
    for k in range(4):
        _around(x, holes, q, k, at)
        residual, image, solution, weight = r[k], q[k], x[k], weights[k]
        for n in range(count):
            i = first + np.uintp(n)
            residual[i] += image[i] - weight[i] * solution[i]
    _cycle(z, r, holes, free, grid, levels)
    size, factor = _dot(r, z, at), np.float32(0)
    for iteration in range(iterations):
        for k in range(4):
            direction, step = p[k], z[k]
            for n in range(count):
                i = first + np.uintp(n)
                direction[i] = step[i] + factor * direction[i]
        for k in range(4):
            _around(p, holes, q, k, at)
            direction, image, weight = p[k], q[k], weights[k]
            for n in range(count):
                i = first + np.uintp(n)
                image[i] = weight[i] * direction[i] - image[i]
        product = _dot(p, q, at)
        length = np.float32(size / product) if product > 0 else np.float32(0)
        for k in range(4):
            direction, image, solution, residual = p[k], q[k], x[k], r[k]
            for n in range(count):
                i = first + np.uintp(n)
                solution[i] += length * direction[i]
                residual[i] -= length * image[i]
        if iteration + 1 == iterations:
            break
        _cycle(z, r, holes, free, grid, levels)
        turned, now = _dot(q, z, at), _dot(r, z, at)
        factor = np.float32(-length * turned / size) if size > 0 and length * turned < 0 else np.float32(0)
        size = now


@kernel
def _write(image: Floats, x: Floats, missing: npt.NDArray[np.bool_], levels: Ints) -> None:
    """The solution into the missing pixels."""
    at = levels[0]
    for row in range(at[HIGH]):
        first = (row // 2 + 1) * at[STRIDE] + 1
        for column in range(at[WIDE]):
            if missing[row, column]:
                image[row, column] = x[2 * (row % 2) + column % 2, first + column // 2]
