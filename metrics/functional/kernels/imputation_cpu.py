"""CPU kernel of ROAD's imputation: conjugate gradients on the missing pixels alone, in one pass over lists of them.

The grids of all resolutions stand one after the other in flat arrays, each with a border of zeros, so that a cell's
neighbours are at fixed distances. Four channels lie side by side and go through every sum together. The V-cycle sweeps
by Gauss and Seidel, forwards before the coarse correction and backwards after it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....jit import kernel

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Indices = npt.NDArray[np.uintp]
Places = npt.NDArray[np.uintp]
SIXTH, TWELFTH = np.float32(1 / 6), np.float32(1 / 12)
SETTLE = 8
"""Sweeps on the coarsest grid."""
GUESS = 2
"""Sweeps in both directions that the first guess gets on the finest grid."""
LANES = 4
"""Channels that are solved together."""


@kernel
def fill_missing(images: Floats, missing: npt.NDArray[np.bool_], halvings: int, iterations: int) -> None:
    """Fill the missing pixels (B,H,W) of ``images`` (B,H,W,4), in place."""
    height, width = missing.shape[1:]
    shape = np.empty((halvings + 1, 3), np.int32)
    cells, high, wide = 0, height, width
    for level in range(halvings + 1):
        shape[level, 0], shape[level, 1], shape[level, 2] = cells, high, wide
        cells += (high + 2) * (wide + 2)
        high, wide = (high + 1) // 2, (wide + 1) // 2
    stride, weights = width + 2, _weights(shape, cells)
    # An integer divided by the weights would be float64, and every sweep with it.
    inverse: Floats = np.float32(1) / weights
    work, have, hole = np.zeros((5, cells, 4), np.float32), np.zeros(cells, np.float32), np.zeros(cells, np.bool_)
    x, z, p = work[0], work[2], work[3]
    for image in range(len(images)):
        # Above the finest level sums are gathered; the border of every level stays zero.
        x[(height + 2) * stride :] = 0
        have[(height + 2) * stride :] = 0
        for row in range(height):
            for column in range(width):
                i, gone = (row + 1) * stride + column + 1, missing[image, row, column]
                hole[i], have[i] = gone, not gone
                for c in range(4):
                    x[i, c] = 0 if gone else images[image, row, column, c]
        for level in range(halvings):
            _halve(x, have, hole, shape, level)
        places, first = _lists(hole, shape)
        for level in range(halvings, -1, -1):
            _guess(x, have, shape, level, halvings)
            # Every level nearly solves its own system before the next one starts from it; the right-hand side, z, is 0.
            start, stop, wide = first[level], first[level + 1], shape[level, 2]
            for _ in range(GUESS if level == 0 else SETTLE // 2):
                _sweep(x, z, places[0], start, stop, 1, inverse, wide)
                _sweep(x, z, places[0], stop - 1, start - 1, -1, inverse, wide)
        _solve(work, places, first, weights, inverse, shape, iterations)
        for n in range(first[1]):
            i = places[0, n]
            row, column = int(i) // stride - 1, int(i) % stride - 1
            for c in range(4):
                images[image, row, column, c] = x[i, c]
        # Where the next image knows a pixel, nothing may be left of this one's.
        for n in range(places.shape[1]):
            for c in range(4):
                z[places[0, n], c] = p[places[0, n], c] = 0


@kernel
def _halve(x: Floats, have: Floats, hole: npt.NDArray[np.bool_], shape: Ints, level: int) -> None:
    """Sums of what is known, and the cells all of whose pixels are missing, at half of the resolution."""
    base, high, wide = shape[level]
    next_base, next_high, next_wide = shape[level + 1]
    for row in range(next_high):
        for column in range(next_wide):
            i = next_base + (row + 1) * (next_wide + 2) + column + 1
            whole = True
            for dy in range(min(2, high - 2 * row)):
                for dx in range(min(2, wide - 2 * column)):
                    j = base + (2 * row + dy + 1) * (wide + 2) + 2 * column + dx + 1
                    have[i] += have[j]
                    whole = whole and hole[j]
                    for c in range(4):
                        x[i, c] += x[j, c]
            hole[i] = whole


@kernel
def _guess(x: Floats, have: Floats, shape: Ints, level: int, last: int) -> None:
    """Means of what is known, in place of its sums; cells that know nothing take their parent's."""
    base, high, wide = shape[level]
    total, count = np.zeros(4, np.float32), np.float32(0)
    if level == last:
        for i in range(base, base + (high + 2) * (wide + 2)):
            count += have[i]
            for c in range(4):
                total[c] += x[i, c]
    for row in range(high):
        for column in range(wide):
            i = base + (row + 1) * (wide + 2) + column + 1
            if have[i] > 0:
                for c in range(4):
                    x[i, c] /= have[i]
            elif level == last:
                for c in range(4):
                    x[i, c] = total[c] / max(count, np.float32(1))
            else:
                above = shape[level + 1]
                j = above[0] + (row // 2 + 1) * (above[2] + 2) + column // 2 + 1
                for c in range(4):
                    x[i, c] = x[j, c]


@kernel
def _lists(hole: npt.NDArray[np.bool_], shape: Ints) -> tuple[Places, Ints]:
    """Missing cells (5,n) of every level in raster order, each with its parent and the parent's neighbours towards it
    (below or above, beside, across); and where each level begins."""
    places, first = np.zeros((5, hole.sum()), np.uintp), np.zeros(len(shape) + 1, np.int32)
    n = 0
    for level in range(len(shape)):
        base, high, wide = shape[level]
        for row in range(high):
            for column in range(wide):
                i = base + (row + 1) * (wide + 2) + column + 1
                if not hole[i]:
                    continue
                places[0, n] = i
                if level + 1 < len(shape):
                    stride = shape[level + 1, 2] + 2
                    j = shape[level + 1, 0] + (row // 2 + 1) * stride + column // 2 + 1
                    down, right = stride if row % 2 else -stride, 1 if column % 2 else -1
                    places[1, n], places[2, n], places[3, n] = j, j + down, j + right
                    places[4, n] = j + down + right
                n += 1
        first[level + 1] = n
    return places, first


@kernel
def _weights(shape: Ints, cells: int) -> Floats:
    """Sum of the weights of a cell's neighbours inside the image: one, except along the border."""
    weights = np.ones(cells, np.float32)
    for level in range(len(shape)):
        base, high, wide = shape[level]
        for row in range(high):
            step = 1 if row == 0 or row == high - 1 else max(1, wide - 1)
            for column in range(0, wide, step):
                total = np.float32(0)
                for dy in range(-1, 2):
                    for dx in range(-1, 2):
                        inside = 0 <= row + dy < high and 0 <= column + dx < wide
                        if inside and (dy != 0 or dx != 0):
                            total += TWELFTH if dy != 0 and dx != 0 else SIXTH
                weights[base + (row + 1) * (wide + 2) + column + 1] = max(total, TWELFTH)
    return weights


@kernel
def _around(x: Floats, i: np.uintp, stride: np.uintp, c: int) -> np.float32:
    # Unsigned places: a signed one would be looked at for its sign before every read.
    one = np.uintp(1)
    beside = x[i - one, c] + x[i + one, c] + x[i - stride, c] + x[i + stride, c]
    above = x[i - stride - one, c] + x[i - stride + one, c]
    total: np.float32 = beside * SIXTH + (above + x[i + stride - one, c] + x[i + stride + one, c]) * TWELFTH
    return total


@kernel
def _first_sweep(e: Floats, b: Floats, index: Indices, start: int, stop: int, inverse: Floats, wide: int) -> None:
    """A forward sweep from zero: only the neighbours before a cell have a value yet, whatever stands in the others."""
    stride, one = np.uintp(wide + 2), np.uintp(1)
    for n in range(start, stop):
        i = index[n]
        for c in range(4):
            across = e[i - stride - one, c] + e[i - stride + one, c]
            rest = (b[i, c] + e[i - stride, c] * SIXTH + across * TWELFTH) * inverse[i]
            e[i, c] = rest + e[i - one, c] * (SIXTH * inverse[i])


@kernel
def _sweep(e: Floats, b: Floats, index: Indices, start: int, stop: int, step: int, inverse: Floats, wide: int) -> None:
    stride, one = np.uintp(wide + 2), np.uintp(1)
    for n in range(start, stop, step):
        i = index[n]
        # The cell that was changed last comes last into the sum: all else need not wait for it.
        late, early = (i - one, i + one) if step > 0 else (i + one, i - one)
        for c in range(4):
            beside = e[early, c] + e[i - stride, c] + e[i + stride, c]
            above = e[i - stride - one, c] + e[i - stride + one, c]
            across = above + e[i + stride - one, c] + e[i + stride + one, c]
            rest = (b[i, c] + beside * SIXTH + across * TWELFTH) * inverse[i]
            e[i, c] = rest + e[late, c] * (SIXTH * inverse[i])


@kernel
def _cycle(e: Floats, b: Floats, places: Places, first: Ints, inverse: Floats, shape: Ints) -> None:
    """e ≈ the solution for the right-hand side ``b`` of the finest level; both hold every level."""
    index, last = places[0], len(shape) - 1
    for n in range(first[1], len(index)):
        for c in range(4):
            b[index[n], c] = 0
    for level in range(last + 1):
        wide, start, stop = shape[level, 2], first[level], first[level + 1]
        _first_sweep(e, b, index, start, stop, inverse, wide)
        if level == last:
            for _ in range(SETTLE):
                _sweep(e, b, index, stop - 1, start - 1, -1, inverse, wide)
                _sweep(e, b, index, start, stop, 1, inverse, wide)
            break
        stride, one = np.uintp(wide + 2), np.uintp(1)
        for n in range(start, stop):
            i, j = index[n], places[1, n]
            # After a sweep from zero the residual is what the neighbours behind a cell add to it. What reaches a parent
            # that is not missing is read by nobody.
            for c in range(4):
                across = e[i + stride - one, c] + e[i + stride + one, c]
                b[j, c] += (e[i + one, c] + e[i + stride, c]) * SIXTH + across * TWELFTH
    for level in range(last - 1, -1, -1):
        start, stop = first[level], first[level + 1]
        for n in range(start, stop):
            i, j, below, beside, corner = index[n], places[1, n], places[2, n], places[3, n], places[4, n]
            for c in range(4):
                near = np.float32(0.5625) * e[j, c] + np.float32(0.1875) * (e[below, c] + e[beside, c])
                e[i, c] += near + np.float32(0.0625) * e[corner, c]
        _sweep(e, b, index, stop - 1, start - 1, -1, inverse, shape[level, 2])


@kernel
def _solve(
    work: Floats,
    places: Places,
    first: Ints,
    weights: Floats,
    inverse: Floats,
    shape: Ints,
    iterations: int,
) -> None:
    """``work`` (5,cells,4): the solution, the residual, the V-cycle's step, the direction, and its image."""
    x, r, z, p, q = work[0], work[1], work[2], work[3], work[4]
    index, stride, stop = places[0], np.uintp(shape[0, 2] + 2), first[1]
    size, factor, length = np.zeros(4, np.float64), np.zeros(4, np.float32), np.zeros(4, np.float32)
    for n in range(stop):
        i = index[n]
        for c in range(4):
            r[i, c] = _around(x, i, stride, c) - x[i, c] * weights[i]
    _cycle(z, r, places, first, inverse, shape)
    for n in range(stop):
        i = index[n]
        for c in range(4):
            size[c] += r[i, c] * z[i, c]
    for iteration in range(iterations):
        product, turned, now = np.zeros(4, np.float64), np.zeros(4, np.float64), np.zeros(4, np.float64)
        for n in range(stop):
            i = index[n]
            for c in range(4):
                p[i, c] = z[i, c] + factor[c] * p[i, c]
        for n in range(stop):
            i = index[n]
            for c in range(4):
                q[i, c] = p[i, c] * weights[i] - _around(p, i, stride, c)
                product[c] += p[i, c] * q[i, c]
        for c in range(4):
            length[c] = size[c] / product[c] if product[c] > 0 else 0.0
        for n in range(stop):
            i = index[n]
            for c in range(4):
                x[i, c] += length[c] * p[i, c]
                r[i, c] -= length[c] * q[i, c]
        if iteration + 1 == iterations:
            break
        _cycle(z, r, places, first, inverse, shape)
        for n in range(stop):
            i = index[n]
            for c in range(4):
                turned[c] += q[i, c] * z[i, c]
                now[c] += r[i, c] * z[i, c]
        for c in range(4):
            factor[c] = max(0.0, -length[c] * turned[c] / size[c]) if size[c] > 0 else 0.0
            size[c] = now[c]
