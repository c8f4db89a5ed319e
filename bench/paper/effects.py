"""What a factorial says: main effects, and whose the gain of the sigmoid branch is: the sigmoid's or the clamp's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...protocol import Protocol
from ...results.scores import Metric
from ...results.statistics import Bootstrap, bootstrap_interval
from ...results.tables.grid import Cell, Document, Grid

FACTORS: dict[str, tuple[str, ...]] = {
    "head": ("softmax", "sigmoid"),
    "clamp": ("off", "on"),
    "sign": ("signed", "relu"),
    "resize": ("bicubic", "bilinear", "bilinear-lowres"),
}
"""Factors and their levels; the first level is the one that effects are measured from."""
AXES: dict[str, tuple[str, ...]] = {
    "geometry": ("squash", "crop"),
    "normalisation": ("min_max", "max", "pas", "ivr(45)"),
    "no_contour": ("zero", "whole"),
    "loc_reference": ("max", "percentile"),
}
"""Factors that are added where they are asked for, fields of the protocol; all but the first read the same maps."""
Factors = Mapping[str, tuple[str, ...]]
HEADS = {
    ("softmax", "off"): "softmax",
    ("softmax", "on"): "softmax_clamped",
    ("sigmoid", "off"): "sigmoid_signed",
    ("sigmoid", "on"): "sigmoid",
}
SHARES: dict[str, dict[tuple[str, str], float]] = {
    "both": {("sigmoid", "on"): 1, ("softmax", "off"): -1},
    "sigmoid": {
        **{("sigmoid", "on"): 0.5, ("sigmoid", "off"): 0.5},
        **{("softmax", "on"): -0.5, ("softmax", "off"): -0.5},
    },
    "clamp": {
        **{("sigmoid", "on"): 0.5, ("sigmoid", "off"): -0.5},
        **{("softmax", "on"): 0.5, ("softmax", "off"): -0.5},
    },
    "interaction": {("sigmoid", "on"): 1, ("sigmoid", "off"): -1, ("softmax", "on"): -1, ("softmax", "off"): 1},
}
"""Weights of the four (head, clamp) in the published change and in its parts; sigmoid + clamp = both, exactly."""


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of scores of one metric, in points, with the ends of its 95 % interval."""

    point: float
    low: float
    high: float

    def text(self) -> str:
        """Point and interval."""
        point, low, high = (round(v, 2) + 0.0 for v in (self.point, self.low, self.high))
        return f"{point:+.2f} [{low:+.2f}, {high:+.2f}]"

    def gain(self, higher_is_better: bool) -> int:
        """1 where it is an improvement beyond its interval, -1 where it is a loss, 0 where the interval holds 0."""
        sign = int(self.low > 0) - int(self.high < 0)
        return sign if higher_is_better else -sign


def contrast(boot: Bootstrap, weights: Mapping[str, float], metric: str) -> Contrast:
    """``Σ weight · score`` over entries, with its paired bootstrap interval."""
    point = float(sum(w * boot.points[e][metric] for e, w in weights.items()))
    samples = np.sum([w * boot.samples[e][metric] for e, w in weights.items()], axis=0)
    interval = bootstrap_interval(samples, point)
    # Scores of equal maps differ in their last bits between runs: what is zero by construction must not get a sign.
    return Contrast(*(round(v, 5) + 0.0 for v in (point, interval.low, interval.high)))


def main_effect(boot: Bootstrap, factor: str, level: str, metric: str, factors: Factors = FACTORS) -> Contrast:
    """Mean over all combinations at one level minus that at the factor's first level."""
    position, first = list(factors).index(factor), factors[factor][0]
    weights = {}
    for wanted, sign in ((level, 1), (first, -1)):
        found = [e for e in boot.entries if e.split("|")[position] == wanted]
        weights.update({e: sign / len(found) for e in found})
    return contrast(boot, weights, metric)


def share(boot: Bootstrap, part: str, levels: Sequence[str], metric: str) -> Contrast:
    """One of ``SHARES`` at one map rule: ``levels`` of all factors but head and clamp.

    ``both`` is what the published tables change at once. The sigmoid's share of it is the mean of its effect without
    and with the clamp, and the clamp's that of its effect on either head; the two add up to ``both``.
    """
    return contrast(boot, {"|".join((*pair, *levels)): w for pair, w in SHARES[part].items()}, metric)


def verdict(parts: Mapping[str, Contrast], higher_is_better: bool) -> str:
    """Whose the gain is, in words; only what the intervals bear out (``none``: no gain beyond the interval)."""
    gains = {name: c.gain(higher_is_better) for name, c in parts.items()}
    if gains["both"] <= 0:
        return "none: a loss" if gains["both"] < 0 else "none"
    owners = [name for name in ("sigmoid", "clamp") if gains[name] > 0]
    if not owners:
        return "unclear"
    return "both" if len(owners) == 2 else f"the {owners[0]}'s"


def own_levels(protocol: Protocol, factors: Factors) -> dict[str, str]:
    """A protocol's own level of every factor but head and clamp; the first one where it has none of them."""
    rule = protocol.map_rule
    own = {
        "sign": rule.sign,
        "resize": rule.kernel + ("-lowres" if rule.low_res_min_max else ""),
        "geometry": "squash" if protocol.crop_from is None else "crop",
        "normalisation": rule.normalisation,
        "no_contour": protocol.no_contour,
        "loc_reference": protocol.loc_reference,
    }
    names = [name for name in factors if name not in ("head", "clamp")]
    return {name: own[name] if own[name] in factors[name] else factors[name][0] for name in names}


def factorial_document(boot: Bootstrap, title: str, protocol: Protocol, factors: Factors = FACTORS) -> Document:
    """The answer, the main effects, and every combination."""
    metrics = [m for m in boot.metrics if m.ranked and not m.per_backbone]
    return Document(
        f"Factorial of {title}",
        [
            _answer(boot, metrics, own_levels(protocol, factors)),
            _main_effects(boot, metrics, factors),
            _combinations(boot, metrics, factors),
        ],
        facts=[
            ("Protocol", f"{protocol.name}, map rule aside"),
            ("Images", f"{boot.plan.images:,}"),
            ("Intervals", f"95 %, paired bootstrap of the images, {boot.plan.count:,} resamples"),
        ],
        notes=[
            "Both: sigmoid branch with the clamp minus softmax without it, as the published tables change them, in "
            "points. Sigmoid: its part of that, the mean of its effect without and with the clamp. Clamp: the mean of "
            "its effect on either head; the two add up to both. Interaction: how much more the clamp does on the "
            "sigmoid branch. Gain: whose it is by the 95 % intervals; none: no gain beyond the interval.",
            "A main effect is the mean over all combinations with the one level minus that with the other.",
            "No correction for the number of metrics: about one interval in twenty misses by chance.",
        ],
    )


def factorial_rows(
    boot: Bootstrap, factors: Factors = FACTORS
) -> tuple[tuple[str, ...], list[tuple[str | float, ...]]]:
    """Head and rows of ``factorial.csv``: unrounded scores of every combination."""
    names = [m.name for m in boot.metrics if m.ranked and not m.per_backbone]
    rows: list[tuple[str | float, ...]] = [(*e.split("|"), *(boot.points[e][n] for n in names)) for e in boot.entries]
    return (*factors, *names), rows


def _answer(boot: Bootstrap, metrics: Sequence[Metric], own: Mapping[str, str]) -> Grid:
    rows = []
    for metric in metrics:
        parts = {part: share(boot, part, list(own.values()), metric.name) for part in SHARES}
        cells = [Cell(c.text()) for c in parts.values()]
        rows.append((Cell(_title(metric)), *cells, Cell(verdict(parts, metric.higher_is_better))))
    head = ("Score", "Both", "Sigmoid", "Clamp", "Interaction", "Gain")
    title = f"Is the gain the sigmoid's or the clamp's? ({', '.join((own['sign'] + ' map', *list(own.values())[1:]))})"
    return Grid(title, head, rows, details=("Interaction",))


def _main_effects(boot: Bootstrap, metrics: Sequence[Metric], factors: Factors) -> Grid:
    effects = [(factor, level) for factor, levels in factors.items() for level in levels[1:]]
    head = ("Score", *(f"{factor}: {level} − {factors[factor][0]}" for factor, level in effects))
    rows = [
        (
            Cell(_title(m)),
            *(Cell(main_effect(boot, *effect, m.name, factors).text()) for effect in effects),
        )
        for m in metrics
    ]
    return Grid("Main effects in points, 95 % intervals", head, rows)


def _combinations(boot: Bootstrap, metrics: Sequence[Metric], factors: Factors) -> Grid:
    best = {m.name: _best([boot.points[e][m.name] for e in boot.entries], m.higher_is_better) for m in metrics}
    rows, rules = list[tuple[Cell, ...]](), set[int]()
    for entry in sorted(boot.entries, key=lambda e: _order(e, factors)):
        levels = entry.split("|")
        if levels[2:] == [each[0] for each in factors.values()][2:]:
            rules.add(len(rows))
        values = [(boot.points[entry][m.name], best[m.name]) for m in metrics]
        cells = [Cell(f"{value:.2f}", bold=round(value, 2) == round(top, 2)) for value, top in values]
        rows.append((*(Cell(level) for level in levels), *cells))
    head = (*factors, *(_title(m) for m in metrics))
    return Grid("Every combination", head, rows, rules=frozenset(rules), names=len(factors))


def _title(metric: Metric) -> str:
    return f"{metric.title} {metric.arrow}"


def _order(entry: str, factors: Factors) -> list[int]:
    return [levels.index(v) for levels, v in zip(factors.values(), entry.split("|"), strict=True)]


def _best(values: list[float], higher: bool) -> float:
    return max(values) if higher else min(values)
