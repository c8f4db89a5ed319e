"""Normalisations, percentile thresholds and whole-map boxes against slow rules in NumPy and OpenCV."""

import cv2
import numpy as np
import pytest
import torch
from map_kinds import make_map
from published_rules import contour_boxes, inclusive_iou, random_boxes

from cambench.metrics.functional.boxes import BoxPool, level_ious, quantize
from cambench.metrics.functional.localisation import levels_at, tau_grid
from cambench.metrics.functional.maps import locate, normalise
from cambench.metrics.functional.no_contour import level_percentile
from cambench.metrics.functional.single_box import threshold_boxes
from cambench.protocol import PROTOCOLS, MapRule

SIDE = 40


def published_normalisation(raw, how):
    """The code of IVR: one map float64, ranks by a full sort."""
    if not np.isfinite(raw).all() or raw.min() == raw.max():
        return np.zeros_like(raw)
    if how == "max":
        kept = np.maximum(0, raw)
        return kept / kept.max() if kept.max() > 0 else kept
    if how == "pas":
        shifted = raw - raw.min()
        return np.minimum(1, shifted / np.sort(shifted.ravel())[int(shifted.size * 0.9)])
    percentile = float(how[4:-1]) / 100
    kept = np.maximum(0, raw - np.sort(raw.ravel())[int(raw.size * percentile)])
    return kept / kept.max() if kept.max() > 0 else kept


@pytest.mark.parametrize("how", ["max", "pas", "ivr(45)", "ivr(0)", "ivr(99)"])
def test_normalisations_equal_the_published_code(how):
    low = np.random.default_rng(0).normal(size=(7, 5, 5))
    low[2], low[3] = 0.4, -np.abs(low[3]) - 0.5
    low[4, 1, 1], low[5, 2, 2] = np.nan, np.inf
    _, norm, flags = locate(torch.from_numpy(low), MapRule(normalisation=how), SIDE)
    for i, raw in enumerate(low):
        up = np.full((SIDE, SIDE), 0.4) if i == 2 else cv2.resize(raw, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        assert np.array_equal(norm[i].numpy(), published_normalisation(up, how)), (how, i)
    # Only relu leaves nothing of the fourth map, which is negative everywhere.
    assert flags.tolist() == [0, 0, 1, int(how == "max"), 2, 2, 0]
    with pytest.raises(ValueError, match="unknown normalisation 'minmax'"):
        normalise(norm, "minmax")


def test_pas_of_a_map_that_is_mostly_at_its_minimum_is_the_rest():
    maps = torch.zeros(1, 10, 10)
    maps[0, 0, :3] = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(normalise(maps, "pas")[0], (maps > 0).double())


@pytest.mark.parametrize("percent", [0, 33.3, 50, 90, 99.9, 100])
def test_level_percentile_equals_numpy(percent):
    levels = np.random.default_rng(1).integers(0, 256, (6, 13, 13), dtype=np.uint8)
    expected = [np.percentile(one, percent) for one in levels]
    assert level_percentile(torch.from_numpy(levels), percent).tolist() == expected


def slow_ious(levels, gt, taus, percent):
    """IoU (single, single_first, multi) per threshold of one map: Rethinking CAM's rule, our clipped boxes."""
    whole = (0, 0, levels.shape[1] - 1, levels.shape[0] - 1)
    found = []
    for tau in taus:
        mask = levels > int(tau * np.percentile(levels, percent))
        single = contour_boxes(mask, largest_only=True) if mask.any() else [whole]
        multi = contour_boxes(mask, largest_only=False) if mask.any() else [whole]
        found.append(
            [
                max(inclusive_iou(single[0], g) for g in gt),
                inclusive_iou(single[0], gt[0]),
                max(inclusive_iou(b, g) for b in multi for g in gt),
            ]
        )
    return np.array(found)


@pytest.mark.parametrize("percent", [60, 90, 100])
def test_percentile_thresholds_and_whole_maps_are_exact_at_every_threshold(percent):
    rng = np.random.default_rng(2)
    levels = np.stack([make_map(k, rng, SIDE, SIDE) for k in ("cam", "dim", "zero", "blurred", "plateaus")])
    boxes = [random_boxes(rng, SIDE, SIDE, 2) for _ in levels]
    boxes[2][0] = [3, 3, SIDE + 4, 20]  # ends beyond the map, as published boxes do
    taus = tau_grid("linspace1001")
    tensor = torch.from_numpy(levels)
    ious = level_ious(tensor, boxes, no_contour="whole")
    index = levels_at(taus, level_percentile(tensor, percent))
    for i, one in enumerate(levels):
        expected = slow_ious(one, boxes[i].tolist(), taus[::20].tolist(), percent)
        found = [curve[i].gather(0, index[i])[::20] for curve in (ious.single, ious.single_first, ious.multi)]
        np.testing.assert_array_equal(torch.stack(found, 1).numpy(), expected)
    with BoxPool(1, "whole") as pool:
        assert all(torch.equal(a, b) for a, b in zip(pool.submit(tensor, boxes).result(), ious, strict=True))


def test_whole_maps_change_nothing_where_a_pixel_is_above():
    levels = quantize(torch.rand(3, 20, 20, dtype=torch.float64))
    boxes = [np.array([[2, 2, 9, 9]]), np.zeros((0, 4), np.int64), np.array([[0, 0, 19, 19], [1, 1, 4, 4]])]
    zero, whole = level_ious(levels, boxes), level_ious(levels, boxes, no_contour="whole")
    for i, peak in enumerate(zero.peak.tolist()):
        assert torch.equal(zero.multi[i, :peak], whole.multi[i, :peak])
    assert not whole.single[1].any()
    assert whole.single_first[2, 255] == 1


def test_the_box_of_a_picture_follows_the_protocol():
    rng = np.random.default_rng(3)
    protocol = PROTOCOLS.get("rethinking-cam")
    levels = np.stack([make_map(k, rng, SIDE, SIDE) for k in ("cam", "zero", "blurred", "plateaus")])
    boxes = threshold_boxes(torch.from_numpy(levels), 0.6, protocol).tolist()
    for one, box in zip(levels, boxes, strict=True):
        mask = one > int(0.6 * np.percentile(one, 90))
        whole = [(0, 0, SIDE - 1, SIDE - 1)]
        assert box == list((contour_boxes(mask, largest_only=True) if mask.any() else whole)[0])
    assert boxes[1] == [0, 0, SIDE - 1, SIDE - 1]
    assert threshold_boxes(torch.from_numpy(levels), 0.6)[1].tolist() == [0, 0, 0, 0]
