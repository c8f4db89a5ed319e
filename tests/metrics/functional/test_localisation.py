"""Scores from hit bits: against plain loops, and equal to the streaming classes."""

import numpy as np
import pytest
import torch
from map_kinds import make_map
from published_rules import random_boxes

from cambench.metrics import GTKnownLoc, MaxBoxAcc, MaxBoxAccV2, Top1Cls, Top1Loc
from cambench.metrics.functional import localisation as loc
from cambench.metrics.functional.boxes import level_ious
from cambench.protocol import PROTOCOLS

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
    assert np.array_equal(loc.accuracy_curve(single[:, 1], peak, taus).numpy(), curve)
    assert float(loc.max_box_acc(single[:, 1], peak, taus)) == curve.max()
    curves = [naive_curve(ious.multi.numpy(), peak.tolist(), taus.tolist(), d).max() for d in THRESHOLDS]
    assert float(loc.max_box_acc_v2(multi, peak, taus)) == pytest.approx(np.mean(curves), abs=1e-12)
    top1 = naive_curve(ious.single.numpy(), peak.tolist(), [0.2], 0.5, correct.numpy())
    assert float(loc.top1_loc(single[:, 1], peak, correct, 0.2)) == top1[0]
    assert (
        float(loc.gt_known_loc(single[:, 1], peak, 0.2))
        == naive_curve(ious.single.numpy(), peak.tolist(), [0.2], 0.5)[0]
    )
    assert loc.best_tau(loc.accuracy_curve(single[:, 1], peak, taus), taus) == taus.tolist()[int(curve.argmax())]
    at = loc.hits_at(single, peak, 0.2)
    assert torch.equal(at[:, 1].double().mean() * 100, loc.gt_known_loc(single[:, 1], peak, 0.2))


def test_weights_are_resamples(records):
    ious, taus = records[2], loc.tau_grid("arange1000")
    hits = loc.unpack_hits(loc.pack_hits(ious.multi, THRESHOLDS))
    index = torch.randint(0, 60, (5, 60), generator=torch.Generator().manual_seed(0))
    weights = loc.resample_weights(index, 60)
    assert torch.equal(weights.sum(1), torch.full((5,), 60.0, dtype=torch.float64))
    scores = loc.max_box_acc_v2(hits, ious.peak, taus, weights)
    for row, score in zip(index, scores, strict=True):
        assert torch.equal(loc.max_box_acc_v2(hits[row], ious.peak[row], taus), score)
    fixed = loc.gt_known_loc(hits[:, 1], ious.peak, 0.2, weights)
    assert [float(v) for v in fixed] == [float(loc.gt_known_loc(hits[r, 1], ious.peak[r], 0.2)) for r in index]


def test_policies():
    taus = torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64)
    own, val = torch.tensor([1.0, 3.0, 3.0]), torch.tensor([5.0, 1.0, 5.0])
    assert loc.loc_tau("fixed", 0.2, taus) == 0.2
    assert loc.loc_tau("oracle", 0.2, taus, own=own) == 0.5
    assert loc.loc_tau("val", 0.2, taus, own=own, val=val) == 0.0
    with pytest.raises(ValueError, match="validation"):
        loc.loc_tau("val", 0.2, taus, own=own)
    with pytest.raises(ValueError, match="best"):
        loc.loc_tau("best", 0.2, taus)


def test_bad_records_are_told():
    with pytest.raises(ValueError, match="NaN"):
        loc.pack_hits(torch.full((2, 256), torch.nan), (0.5,))
    with pytest.raises(ValueError, match="256"):
        loc.pack_hits(torch.zeros(2, 255), (0.5,))
    with pytest.raises(ValueError, match="32"):
        loc.unpack_hits(torch.zeros(2, 31, dtype=torch.uint8))
    hits = torch.zeros(2, 256, dtype=torch.bool)
    with pytest.raises(ValueError, match="peaks of 2"):
        loc.accuracy_curve(hits, torch.zeros(3), loc.tau_grid("arange1000"))
    with pytest.raises(ValueError, match="no image"):
        loc.accuracy_curve(hits[:0], torch.zeros(0), loc.tau_grid("arange1000"))
    with pytest.raises(ValueError, match=r"\(S,2\)"):
        loc.accuracy_curve(hits, torch.zeros(2), loc.tau_grid("arange1000"), torch.ones(1, 3))
    with pytest.raises(ValueError, match="correctness"):
        loc.right_hits(hits, torch.ones(3))


@pytest.mark.parametrize("name", ["paper", "beyond-softmax-code", "wsoleval"])
def test_streaming_equals_records_bit_for_bit(records, name):
    levels, boxes, ious, predicted, labels = records
    protocol = PROTOCOLS.get(name)
    metrics = [MaxBoxAcc(protocol), MaxBoxAccV2(protocol), GTKnownLoc(protocol), Top1Loc(protocol), Top1Cls()]
    for part in torch.arange(60).split(17):
        batch = (levels[part], [boxes[i] for i in part], predicted[part], labels[part])
        for metric in metrics[:-1]:
            metric.update(*batch)
        metrics[-1].update(predicted[part], labels[part])
    taus = loc.tau_grid(protocol.tau_grid)
    rule = ious.single if protocol.gt_boxes == "any" else ious.single_first
    located = loc.unpack_hits(loc.pack_hits(rule, (0.5,)))[:, 0]
    single = loc.unpack_hits(loc.pack_hits(ious.single, (0.5,)))[:, 0]
    multi = loc.unpack_hits(loc.pack_hits(ious.multi, protocol.iou_thresholds))
    right = predicted == labels
    tau = [
        loc.loc_tau(protocol.loc_threshold, protocol.loc_tau, taus, own=loc.accuracy_curve(hits, ious.peak, taus))
        for hits in (located, loc.right_hits(located, right))
    ]
    expected = [
        loc.max_box_acc(single, ious.peak, taus),
        loc.max_box_acc_v2(multi, ious.peak, taus),
        loc.gt_known_loc(located, ious.peak, tau[0]),
        loc.top1_loc(located, ious.peak, right, tau[1]),
        100.0 * right.sum().double() / 60,
    ]
    assert [float(m.compute()) for m in metrics] == [float(e) for e in expected]
    assert len({float(e) for e in expected}) > 2
