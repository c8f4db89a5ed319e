"""Paired tests between two triples on the same images, with effect sizes and Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr
from scipy.stats import binom

from ..scores.per_image import LOC, TOP1, Floats, PerImage
from ..scores.shown import Metric
from .bootstrap import Bootstrap
from .intervals import LEVEL, Interval, bootstrap_interval

ALPHA = 0.05
FEW = 10
"""Fewer resamples than this beyond the difference do not settle its p-value; the normal tail then does."""
BINARY = {"gt_known_loc": LOC, "top1_loc": TOP1}
"""Metrics that are a share of images with a fixed outcome each: McNemar's test applies."""
EFFECT_WORDS = {"d": (0.2, 0.5, 0.8), "g": (0.05, 0.15, 0.25)}
"""Cohen's small, medium and large: standardised difference d, and g = share of discordant pairs − 1/2."""


@dataclass(frozen=True)
class Difference:
    """``second`` minus ``first`` in one metric, over the same images.

    Attributes:
        metric: What is compared. first, second: Entries. a, b: Their scores. interval: Of the difference b − a.
        p: Two-sided p-value. p_holm: The same after Holm's correction over the table.
        test: ``McNemar`` or ``paired bootstrap``.
        effect: Cohen's g (McNemar) or d (bootstrap), positive where ``second`` scores higher.
        discordant: Images that only ``first``, only ``second`` gets right (McNemar).
        identical: All images have the same records in this metric.
    """

    metric: Metric
    first: str
    second: str
    a: float
    b: float
    interval: Interval
    p: float
    test: Literal["McNemar", "paired bootstrap"]
    effect: float
    discordant: tuple[int, int] | None = None
    identical: bool = False
    p_holm: float = math.nan

    @property
    def value(self) -> float:
        """b − a, in the metric's unit (points for %)."""
        return self.b - self.a

    def verdict(self, alpha: float = ALPHA) -> Literal["better", "worse", ""]:
        """What ``second`` is, given the corrected p-value; empty where the difference is not significant."""
        if not self.p_holm < alpha or self.value == 0:
            return ""
        return "better" if (self.value > 0) == self.metric.higher_is_better else "worse"

    @property
    def effect_size(self) -> str:
        """``d = 0.31 (small)``."""
        kind = "g" if self.test == "McNemar" else "d"
        size = sum(abs(self.effect) >= limit for limit in EFFECT_WORDS[kind])
        return f"{kind} = {self.effect:+.2f} ({('negligible', 'small', 'medium', 'large')[size]})"


def mcnemar(only_first: int, only_second: int, *, mid_p: bool = False) -> float:
    """Two-sided p-value of McNemar's exact test, from the numbers of discordant images.

    Under the null hypothesis each discordant image favours either side with probability 1/2. ``mid_p`` counts the
    observed outcome half (Fagerland et al., 2013): less conservative, no longer guaranteed.

    Raises:
        ValueError: A negative count.

    Source: McNemar, Psychometrika 1947; the exact form is the binomial test of the discordant pairs.
    """
    if only_first < 0 or only_second < 0:
        raise ValueError(f"discordant images {only_first} and {only_second}: expected counts")
    n, k = only_first + only_second, min(only_first, only_second)
    if mid_p:
        return float(1.0 if only_first == only_second else 2 * binom.cdf(k, n, 0.5) - binom.pmf(k, n, 0.5))
    return float(min(1.0, 2 * binom.cdf(k, n, 0.5)))


def paired_bootstrap_p(differences: Floats, observed: float) -> float:
    """Two-sided p-value of a difference from its bootstrap samples, centred on the null hypothesis.

    p = (1 + #{|d* − d| ≥ |d|}) / (S + 1). Where fewer than 10 of S resamples lie beyond, that count says little more
    than "small", and Holm's correction over a large table would need more resamples than anyone draws: the normal tail
    2·Φ(−|d| / sd(d*)) is used instead, never above what the count bounds.

    Args:
        differences: Samples d* (S,), NaN where a resample has none.
        observed: The difference d of the data.

    Source: Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 4.4.
    """
    samples = differences[np.isfinite(differences)]
    # Sums in another order differ in the last bits; an equal deviation must count as one.
    slack = 1e-9 * max(1.0, abs(observed))
    beyond = int(np.count_nonzero(np.abs(samples - observed) >= abs(observed) - slack))
    counted = (1 + beyond) / (len(samples) + 1)
    spread = float(samples.std()) if len(samples) else 0.0
    if beyond >= FEW or spread <= slack:
        return counted
    return min(FEW / (len(samples) + 1), max(float(2 * ndtr(-abs(observed) / spread)), 1e-300))


def holm(p_values: Sequence[float]) -> npt.NDArray[np.float64]:
    """p-values corrected for the size of their family, in the given order.

    With p sorted ascending, p̃_(i) = max_{j ≤ i} min(1, (m − j + 1)·p_(j)).

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order])
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(stepped)
    return corrected


def differences(
    boot: Bootstrap,
    pairs: Iterable[tuple[str, str]] | None = None,
    *,
    metrics: Sequence[str] | None = None,
    level: float = LEVEL,
) -> list[Difference]:
    """Paired tests of every ranked metric between entries; Holm's correction is over all that are returned.

    GT-known Loc and Top-1 Loc: McNemar's exact test on the images with boxes, where the threshold was chosen without
    these images. Everything else, and the Loc scores under an ``oracle`` protocol (whose threshold is chosen anew in
    each resample): paired bootstrap, its p-value at least 2^(1−n) for n images. A metric that is the same for a
    backbone is left out between its triples.

    Args:
        boot: Scores and resamples. pairs: ``(first, second)`` entries (default: any two). metrics: Only these.
        level: Of the intervals.
    """
    chosen = list(combinations(boot.entries, 2) if pairs is None else pairs)
    found = [
        _difference(boot, metric, first, second, level)
        for first, second in chosen
        for metric in boot.metrics
        if (metrics is None or metric.name in metrics) and _comparable(boot, metric, first, second)
    ]
    corrected = holm([d.p for d in found])
    return [replace(d, p_holm=float(p)) for d, p in zip(found, corrected, strict=True)]


def _comparable(boot: Bootstrap, metric: Metric, first: str, second: str) -> bool:
    if not metric.ranked or any(metric.name not in boot.points[e] for e in (first, second)):
        return False
    if not metric.per_backbone:
        return True
    return not np.array_equal(boot.records[first].column("correct"), boot.records[second].column("correct"))


def _difference(boot: Bootstrap, metric: Metric, first: str, second: str, level: float) -> Difference:
    a, b = boot.points[first][metric.name], boot.points[second][metric.name]
    samples = boot.samples[second][metric.name] - boot.samples[first][metric.name]
    spread = float(np.nanstd(samples))
    only = _discordant(metric, boot.records[first], boot.records[second])
    if only is not None:
        test: Literal["McNemar", "paired bootstrap"] = "McNemar"
        p, effect = mcnemar(*only), (only[1] / sum(only) - 0.5 if sum(only) else 0.0)
    else:
        # A test that flips the signs of n images' differences gives no smaller p-value; resamples of few images vary
        # too little, those of one not at all.
        test, p = "paired bootstrap", max(paired_bootstrap_p(samples, b - a), 2.0 ** (1 - boot.plan.images))
        # sd of a mean's samples is sd of an image's difference / sqrt(n): this is Cohen's d of paired data.
        effect = (b - a) / (spread * math.sqrt(boot.plan.images)) if spread > 0 else 0.0
    same = bool(a == b and not np.nanmax(np.abs(samples), initial=0.0) and not sum(only or (0,)))
    interval = bootstrap_interval(samples, b - a, level)
    return Difference(metric, first, second, a, b, interval, p, test, effect, only, same)


def _discordant(metric: Metric, first: PerImage, second: PerImage) -> tuple[int, int] | None:
    column = BINARY.get(metric.name)
    if column is None or first.tau is None or second.tau is None:
        return None
    a, b = first.column(column) > 0, second.column(column) > 0
    return int((a & ~b).sum()), int((b & ~a).sum())
