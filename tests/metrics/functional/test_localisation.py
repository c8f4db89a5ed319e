"""Scores from hit bits against plain loops."""

import numpy as np
import pytest
import torch
from map_kinds import make_map
from published_rules import random_boxes

from cambench.metrics.functional import localisation as loc
from cambench.metrics.functional.boxes import level_ious

THRESHOLDS = (0.3, 0.5, 0.7)


@pytest.fixture(scope="module")
def records():
    """What a run stores: hit bits, peaks and correctness of 60 images, and what they came from."""
    rng = np.random.default_rng(0)
    kinds = rng.choice(["cam", "dim", "zero", "blurred", "plateaus"], 60)
    levels = torch.from_numpy(np.stack([make_map(k, rng, 48, 48) for k in kinds]))
    boxes = [random_boxes(rng, 48, 48, int(rng.integers(1, 4))) for _ in kinds]
    ious = level_ious(levels, boxes)
    predicted, labels = torch.from_numpy(rng.integers(0, 2, (2, len(kinds))))
    return levels, boxes, ious, predicted, labels


def naive_curve(ious, peak, taus, delta, correct=None):
    """100 · share of images with IoU >= δ per τ, image by image and threshold by threshold."""
    correct = np.ones(len(ious), bool) if correct is None else correct
    return np.array(
        [
            100.0
            * sum(bool(i[int(t * p)] >= delta) and c for i, p, c in zip(ious, peak, correct, strict=True))
            / len(ious)
            for t in taus
        ]
    )


def test_tau_grids():
    first, second = loc.tau_grid("arange1000"), loc.tau_grid("linspace1001")
    assert np.array_equal(first.numpy(), np.arange(0, 1, 0.001))
    assert second.tolist() == [round(0.001 * k, 3) for k in range(1001)]
    assert len(set(loc.levels_at(first, torch.tensor([255]))[0].tolist())) == 255
    assert len(set(loc.levels_at(second, torch.tensor([255]))[0].tolist())) == 256
    with pytest.raises(ValueError, match="arange1000"):
        loc.tau_grid("linspace")


def test_levels_use_the_published_expression():
    taus, peaks = loc.tau_grid("linspace1001"), torch.arange(256)
    expected = [[int(t * np.uint8(p)) for t in taus.tolist()] for p in peaks.tolist()]
    assert loc.levels_at(taus, peaks).tolist() == expected


def test_hit_bits_round_trip(records):
    ious = records[2].multi
    packed = loc.pack_hits(ious, THRESHOLDS)
    assert packed.shape == (60, 3, 32)
    assert packed.dtype == torch.uint8
    expected = torch.stack([ious >= t for t in THRESHOLDS], 1)
    assert torch.equal(loc.unpack_hits(packed), expected)
    assert np.array_equal(packed.numpy(), np.packbits(expected.numpy(), axis=-1))


@pytest.mark.parametrize("grid", ["arange1000", "linspace1001"])
def test_scores_equal_plain_loops(records, grid):
    _, _, ious, predicted, labels = records
    taus, peak = loc.tau_grid(grid), ious.peak
    single = loc.unpack_hits(loc.pack_hits(ious.single, THRESHOLDS))
    multi = loc.unpack_hits(loc.pack_hits(ious.multi, THRESHOLDS))
    correct = predicted == labels
    curve = naive_curve(ious.single.numpy(), peak.tolist(), taus.tolist(), 0.5)
    counts = loc.hit_counts(single[:, 1], peak, taus)
    assert np.array_equal(loc.percent(counts, 60).numpy(), curve)
    assert float(loc.max_box_acc(counts, 60)) == curve.max()
    assert loc.best_tau(counts, taus) == taus.tolist()[int(curve.argmax())]
    curves = [naive_curve(ious.multi.numpy(), peak.tolist(), taus.tolist(), d).max() for d in THRESHOLDS]
    v2 = loc.max_box_acc_v2(loc.hit_counts(multi, peak, taus), 60)
    assert float(v2) == pytest.approx(np.mean(curves), abs=1e-12)
    top1 = naive_curve(ious.single.numpy(), peak.tolist(), [0.2], 0.5, correct.numpy())
    hits = loc.hits_at(single, peak, 0.2)[:, 1]
    assert float(loc.percent((hits & correct).sum(), 60)) == top1[0]


def test_policies():
    located = torch.tensor([[1, 3, 3], [5, 1, 5]])
    assert loc.loc_threshold(located, "oracle").tolist() == [1, 0]
    assert loc.loc_threshold(located, "val", 2).tolist() == [2, 2]
    assert loc.at_threshold(located, loc.loc_threshold(located, "oracle")).tolist() == [3, 5]
    with pytest.raises(ValueError, match="must be given"):
        loc.loc_threshold(located, "val")
    with pytest.raises(ValueError, match="best"):
        loc.loc_threshold(located, "best")


def test_bad_records_are_told():
    with pytest.raises(ValueError, match="NaN"):
        loc.pack_hits(torch.full((2, 256), torch.nan), (0.5,))
    with pytest.raises(ValueError, match="256"):
        loc.pack_hits(torch.zeros(2, 255), (0.5,))
    with pytest.raises(ValueError, match="32"):
        loc.unpack_hits(torch.zeros(2, 31, dtype=torch.uint8))
    hits = torch.zeros(2, 256, dtype=torch.bool)
    with pytest.raises(ValueError, match="peaks of 2"):
        loc.hit_counts(hits, torch.zeros(3), loc.tau_grid("arange1000"))
    with pytest.raises(ValueError, match="no image"):
        loc.percent(torch.zeros(3), 0)
