"""``python -m …compile_all``: compiles every kernel that a run on the CPU calls, so that numba's cache holds it."""

from __future__ import annotations

import numpy as np

from .ahead import mark_done
from .engine import drop_stale_cache, run_boxes


def compile_all() -> None:
    """Call every kernel once, with arrays of the types that the tensor code gives it; small ones first."""
    from .histogram import count_pixels
    from .maps_cpu import ranges, rescale, resize_taps, to_levels

    drop_stale_cache()
    maps, out = np.zeros((1, 2, 2)), np.zeros((1, 4, 4))
    index, weight = np.zeros((4, 4), np.int64), np.zeros((4, 4))
    low, high = np.zeros(1), np.ones(1)
    resize_taps(maps, index, weight, index, weight, out)
    ranges(out, low, high)
    rescale(out, low, high, out)
    to_levels(out.reshape(-1), np.zeros(16, np.uint8))
    count_pixels(
        out.reshape(1, -1),
        np.zeros((1, 16), np.uint8),
        True,
        1000,
        np.zeros((1, 2, 1002), np.int64),
        np.zeros(1, np.int64),
    )
    boxes, offsets, curves = np.zeros((1, 4), np.int64), np.array([0, 1]), np.empty((3, 1, 256))
    run_boxes(np.zeros((1, 5, 5), np.uint8), boxes, offsets, curves, everything=True)


if __name__ == "__main__":
    compile_all()
    mark_done()
