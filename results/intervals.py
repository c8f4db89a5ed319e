"""Confidence intervals from bootstrap samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from .per_image import Floats

LEVEL = 0.95
RESAMPLES = 2000
"""Resamples where the caller does not say; 10,000 settle the second digit of an interval's ends."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval, ends included, in the unit of its metric."""

    low: float
    high: float
    level: float = LEVEL

    def text(self, digits: int = 2) -> str:
        """``[low, high]`` with this many decimals."""
        return f"[{self.low:.{digits}f}, {self.high:.{digits}f}]"


def bootstrap_interval(samples: Floats, point: float, level: float = LEVEL) -> Interval:
    """Bias-corrected percentile interval of a score.

    A maximum over thresholds is higher in a resample than in the data on average; the plain percentile interval would
    count that bias twice. With z0 = Φ⁻¹(share of samples below the point, ties half), the ends are the samples'
    quantiles at Φ(2·z0 ± z(level)); without bias they are the percentile interval's.

    Args:
        samples: Scores (S,) of the resamples; NaN where a resample has no score.
        point: Score of the data.
        level: Nominal coverage in (0, 1).

    Raises:
        ValueError: No resample has a score, or the level is outside (0, 1).

    Source: Efron, Better bootstrap confidence intervals, JASA 1987, section 2 (BC; acceleration 0).
    """
    if not 0 < level < 1:
        raise ValueError(f"confidence level {level}: expected a fraction between 0 and 1")
    values = samples[np.isfinite(samples)]
    if not len(values):
        raise ValueError("no resample has a score")
    below = (np.count_nonzero(values < point) + 0.5 * np.count_nonzero(values == point)) / len(values)
    edge = 0.5 / len(values)
    bias = ndtri(np.clip(below, edge, 1 - edge))
    tails = ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    low, high = np.quantile(values, ndtr(2 * bias + tails))
    return Interval(float(low), float(high), level)
