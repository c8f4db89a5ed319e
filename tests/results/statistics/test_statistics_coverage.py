"""Coverage by simulation: how often a nominal 95 % interval holds the score of the population it was drawn from."""

from types import SimpleNamespace

import numpy as np
import pytest

from cambench.metrics.functional.localisation import tau_grid
from cambench.protocol import PROTOCOLS
from cambench.results.scores.curves import HitReader
from cambench.results.scores.per_image import PIXELS, PerImage
from cambench.results.statistics.intervals import bootstrap_interval
from cambench.results.statistics.resample import ResamplePlan, resampled_scores

POPULATION = 2000
METRICS = (
    *("top1_cls", "top1_loc", "gt_known_loc", "max_box_acc", "max_box_acc_v2", "pxap"),
    *("average_drop", "increase_in_confidence", "average_gain", "evidence_precision"),
)


class Population:
    """Images of two methods; a sample of it has a known expectation of every score: that of the whole.

    The hit curves have a broad maximum, so that the best threshold of a sample wanders; ``flat`` ones hardly depend on
    the threshold, which makes the bias of a maximum as large as it gets.
    """

    def __init__(self, protocol, seed, *, flat=False):
        self.flat = flat
        self.protocol = PROTOCOLS.get(protocol)
        rng = np.random.default_rng(seed)
        hard = rng.random(POPULATION)
        self.boxed = rng.random(POPULATION) < 0.9
        self.right = rng.random(POPULATION) < 0.7
        self.methods = [self._method(rng, hard, shift) for shift in (0.0, 0.12)]

    def _method(self, rng, hard, shift):
        levels = np.arange(256)[None, None]
        start = rng.integers(0, 220 if self.flat else 120, (POPULATION, 1, 1))
        quality = np.clip(1.2 + shift - hard + 0.2 * rng.normal(size=POPULATION), 0, 1)[:, None, None]
        width = (quality * np.array([120, 80, 40] if self.flat else [220, 150, 80])[None, :, None]).astype(int)
        hits = np.packbits((levels >= start) & (levels < start + width), axis=-1)
        score = np.clip(0.5 + 0.25 * rng.normal(size=POPULATION) + shift, 0.05, 0.95)
        masked = np.clip(score - 0.2 + 0.3 * rng.normal(size=POPULATION), 0.01, 0.99)
        objects = rng.poisson(40 * quality[:, 0] * np.linspace(0.2, 1, 1002)[None])
        background = rng.poisson(60 * np.linspace(1, 0.05, 1002)[None] * (1.3 - quality[:, 0]))
        columns = {
            "drop": np.maximum(score - masked, 0) / score,
            "increase": masked > score,
            "gain": np.maximum(masked - score, 0) / (1 - score),
            "evidence_precision": rng.beta(2, 5, POPULATION),
        }
        return hits, np.stack([background, objects], axis=1).astype(np.uint32), columns

    def draw(self, method, chosen):
        hits, histograms, columns = (
            value[chosen] if isinstance(value, np.ndarray) else {n: v[chosen] for n, v in value.items()}
            for value in self.methods[method]
        )
        boxed, right = self.boxed[chosen], self.right[chosen]
        located = boxed & (np.unpackbits(hits[:, 1], axis=-1)[:, int(0.2 * 255)] > 0)
        rows = {f"multi:{d}": (hits[:, i], boxed) for i, d in enumerate(self.protocol.iou_thresholds)}
        rows["single"] = (hits[:, 1], boxed)
        fixed = self.protocol.loc_threshold == "fixed"
        columns = {"correct": right, "degenerate": np.zeros(len(chosen)), "boxed": boxed, **columns}
        if fixed:
            columns |= {"located": located, "top1": located & right}
        else:
            rows |= {"located": (hits[:, 1], boxed), "top1": (hits[:, 1], boxed & right)}
        reader = HitReader(np.full(len(chosen), 255, np.uint8), tau_grid(self.protocol.tau_grid).numpy())
        run = SimpleNamespace(
            manifest=SimpleNamespace(protocol=self.protocol, metrics={}, dataset=SimpleNamespace(name="drawn")),
            batches=lambda triple, names: iter([{PIXELS: histograms}]),
        )
        values = np.stack([np.asarray(v, dtype=float) for v in columns.values()], axis=1)
        return PerImage(run, f"m{method}", tuple(columns), values, reader.curves(rows), 0.2 if fixed else None, True)


def coverage(protocol, simulations, images, resamples, *, flat=False):
    """Share of simulations whose interval holds the truth: per metric, and for the difference of the two methods."""
    population = Population(protocol, 0, flat=flat)
    everyone = [population.draw(m, np.arange(POPULATION)).point() for m in (0, 1)]
    held = {name: 0 for m in METRICS for name in (m, f"difference of {m}") if name != "difference of top1_cls"}
    for simulation in range(simulations):
        chosen = np.random.default_rng([1, simulation]).integers(0, POPULATION, images)
        pair = [population.draw(m, chosen) for m in (0, 1)]
        samples = resampled_scores(pair, ResamplePlan(images, resamples, simulation), threads=1)
        points = [one.point() for one in pair]
        for metric in METRICS:
            one = bootstrap_interval(samples[0][metric], points[0][metric])
            held[metric] += one.low <= everyone[0][metric] <= one.high
            if metric == "top1_cls":
                continue
            delta = samples[1][metric] - samples[0][metric]
            both = bootstrap_interval(delta, points[1][metric] - points[0][metric])
            truth = everyone[1][metric] - everyone[0][metric]
            held[f"difference of {metric}"] += both.low <= truth <= both.high
    return {name: count / simulations for name, count in held.items()}


def test_intervals_cover_quick():
    found = coverage("paper", simulations=80, images=150, resamples=250)
    # Binomial(80, 0.95) has a standard deviation of 2.4 %; the average over the scores varies less.
    assert {name: share for name, share in found.items() if share < 0.87} == {}
    assert 0.925 <= np.mean(list(found.values())) <= 0.98


def test_intervals_of_maxima_cover_quick():
    """With the percentile interval and its bias-corrected one alone: 0 to 30 % on flat curves."""
    found = coverage("paper", simulations=40, images=60, resamples=200, flat=True)
    assert min(found[name] for name in ("max_box_acc", "max_box_acc_v2")) >= 0.85


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["paper", "wsoleval"])
def test_intervals_cover_93_to_98_percent_of_1000_simulations(protocol):
    """A maximum may be covered more often: what its bias costs is bounded, not known."""
    found = coverage(protocol, simulations=1000, images=400, resamples=1000)
    most = {name: 0.99 if name.startswith("max_box_acc") else 0.975 for name in found}
    assert {name: share for name, share in found.items() if not 0.93 <= share <= most[name]} == {}


@pytest.mark.slow
@pytest.mark.parametrize("images", [50, 100, 300, 1000])
@pytest.mark.parametrize("flat", [False, True], ids=["broad", "flat"])
@pytest.mark.parametrize("protocol", ["paper", "wsoleval"])
def test_intervals_of_maxima_cover_small_and_large_sets(protocol, images, flat):
    found = coverage(protocol, simulations=400, images=images, resamples=1000, flat=flat)
    # Binomial(400, 0.95) has a standard deviation of 1.1 %.
    shares = {name: found[name] for name in ("max_box_acc", "max_box_acc_v2")}
    assert {name: share for name, share in shares.items() if share < 0.92} == {}, shares
