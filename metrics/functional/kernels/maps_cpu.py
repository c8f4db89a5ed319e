"""CPU kernels of the map chain: bicubic resize, range, normalisation and levels, one pass over the pixels each.

Every operation and its order are those of the tensor code in ``_resize.py``, ``maps.py`` and ``boxes.py``; nothing is
fused or reordered, so the bits are the same. Loops run over columns with no carried value, which compiles to vectors.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ....jit import kernel

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@kernel
def resize_taps(
    maps: Doubles, x_index: Indices, x_weight: Doubles, y_index: Indices, y_weight: Doubles, out: Doubles
) -> None:
    """Resize maps (B,h,w) to ``out`` (B,R,S) by four taps an axis (4,R) and (4,S), along rows first."""
    height = maps.shape[1]
    wide, high = x_index.shape[1], y_index.shape[1]
    rows = np.empty((height, wide), np.float64)
    for b in range(maps.shape[0]):
        for y in range(height):
            line, source = rows[y], maps[b, y]
            for x in range(wide):
                value = source[x_index[0, x]] * x_weight[0, x]
                value += source[x_index[1, x]] * x_weight[1, x]
                value += source[x_index[2, x]] * x_weight[2, x]
                value += source[x_index[3, x]] * x_weight[3, x]
                line[x] = value
        for y in range(high):
            target = out[b, y]
            r0, r1, r2, r3 = rows[y_index[0, y]], rows[y_index[1, y]], rows[y_index[2, y]], rows[y_index[3, y]]
            w0, w1, w2, w3 = y_weight[0, y], y_weight[1, y], y_weight[2, y], y_weight[3, y]
            for x in range(wide):
                target[x] = r0[x] * w0 + r1[x] * w1 + r2[x] * w2 + r3[x] * w3


@kernel
def ranges(maps: Doubles, low: Doubles, high: Doubles) -> None:
    """Minimum and maximum (B,) of maps (B,H,W); NaN where a map holds NaN."""
    wide = maps.shape[2]
    lows, highs, nans = np.empty(wide, np.float64), np.empty(wide, np.float64), np.empty(wide, np.float64)
    for b in range(maps.shape[0]):
        lows[:], highs[:], nans[:] = maps[b, 0], maps[b, 0], 0.0
        for y in range(maps.shape[1]):
            line = maps[b, y]
            for x in range(wide):
                value = line[x]
                lows[x] = value if value < lows[x] else lows[x]
                highs[x] = value if value > highs[x] else highs[x]
                nans[x] += 0.0 if value == value else 1.0
        if nans.sum() > 0:
            low[b] = high[b] = np.nan
        else:
            low[b], high[b] = lows.min(), highs.max()


@kernel
def rescale(maps: Doubles, low: Doubles, span: Doubles, out: Doubles) -> None:
    """``out`` (B,H,W) = (v − low) / span of maps with a finite positive span (B,), all zero of others."""
    for b in range(maps.shape[0]):
        if not (span[b] > 0.0 and np.isfinite(span[b])):
            out[b] = 0.0
            continue
        lowest, width = low[b], span[b]
        for y in range(maps.shape[1]):
            line, target = maps[b, y], out[b, y]
            for x in range(maps.shape[2]):
                target[x] = (line[x] - lowest) / width


@kernel
def to_levels(norm: Doubles, out: npt.NDArray[np.uint8]) -> int:
    """``out`` = floor(255·v) of values (P,) in [0, 1]; returns how many values are outside or NaN."""
    outside = 0
    for p in range(len(norm)):
        value = norm[p]
        inside = (value >= 0.0) & (value <= 1.0)
        outside += 0 if inside else 1
        out[p] = np.uint8(np.int32((value if inside else 0.0) * 255.0))
    return outside
