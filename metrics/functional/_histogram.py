"""CPU kernel of the pixel histograms: one pass over the pixels, exact bins without a table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ._jit import kernel

GOOD, BAD_SCORE, BAD_MASK = 0, 1, 2


@kernel
def count_pixels(
    scores: npt.NDArray[np.float64],
    masks: npt.NDArray[np.uint8],
    multiply: bool,
    last_edge: int,
    counts: npt.NDArray[np.int64],
    status: npt.NDArray[np.int64],
) -> None:
    """Add the pixels of maps (B,P) to ``counts`` (B,2,K); ``status`` (B,) says what is wrong with an image.

    Edge k is k·0.001 if ``multiply``, else k / 1000; a score of 1 falls into the bin above edge ``last_edge``.
    """
    for b in range(scores.shape[0]):
        status[b] = GOOD
        row = counts[b]
        for p in range(scores.shape[1]):
            s, m = scores[b, p], masks[b, p]
            if not 0.0 <= s <= 1.0:
                status[b] = BAD_SCORE
                break
            if m > 1 and m != 255:
                status[b] = BAD_MASK
                break
            if m == 255:
                continue
            k = int(s * 1000.0)
            # The product may round across an edge in either direction.
            below = k * 0.001 if multiply else k / 1000.0
            above = (k + 1) * 0.001 if multiply else (k + 1) / 1000.0
            k += int(s >= above) - int(s < below)
            row[m, last_edge if s == 1.0 else k] += 1
