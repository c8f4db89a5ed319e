"""Level IoUs against one findContours per level, on every awkward kind of map."""

import os
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from map_kinds import KINDS, make_map
from published_rules import random_boxes, slow_level_ious, threshold_ious

from cambench.metrics.functional.boxes import BoxPool, level_ious, quantize, quantize_levels
from cambench.metrics.functional.kernels.basins import basins_batch
from cambench.metrics.functional.kernels.maxtree import maxtree_batch
from cambench.metrics.functional.pool import NICENESS


def as_curves(ious, image=0):
    return torch.stack([ious.multi[image], ious.single[image], ious.single_first[image]]).numpy()


def by_algorithm(kernel, levels, gt):
    curves, done = np.full((3, 1, 256), -1.0), np.zeros(1, np.bool_)
    kernel(levels[None], gt, np.array([0, len(gt)]), *curves, done)
    return curves[:, 0], bool(done[0])


def sweep(kind, count, sides, seed):
    rng = np.random.default_rng([seed, list(KINDS).index(kind)])
    taken = 0
    for _ in range(count):
        height, width = rng.integers(*sides, 2)
        levels = make_map(kind, rng, height, width)
        gt = random_boxes(rng, height, width, int(rng.integers(0, 4)))
        expected = slow_level_ious(levels, gt)
        found = level_ious(torch.from_numpy(levels)[None], [gt])
        assert np.array_equal(as_curves(found), expected), (kind, height, width)
        assert int(found.peak) == levels.max()
        tree, _ = by_algorithm(maxtree_batch, levels, gt)
        assert np.array_equal(tree, expected), (kind, height, width)
        basins, done = by_algorithm(basins_batch, levels, gt)
        assert not done or np.array_equal(basins, expected)
        taken += done
    return taken


@pytest.mark.parametrize("kind", KINDS)
def test_both_algorithms_equal_opencv(kind):
    sweep(kind, 12, (5, 49), seed=1)


@pytest.mark.parametrize("kind", ["cam", "blurred", "rings", "equal_stamps", "dim"])
def test_large_maps_equal_opencv(kind):
    sweep(kind, 2, (180, 225), seed=2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_heavy_sweep(kind):
    sweep(kind, 400, (5, 57), seed=3)
    sweep(kind, 12, (57, 225), seed=4)


def test_basins_take_the_smooth_maps():
    assert sweep("cam", 20, (60, 100), seed=5) == 20


def test_maximum_side():
    rng = np.random.default_rng(6)
    levels, gt = make_map("cam", rng, 512, 512), np.array([[100, 120, 400, 511]])
    assert np.array_equal(as_curves(level_ious(torch.from_numpy(levels)[None], [gt])), slow_level_ious(levels, gt))


@settings(max_examples=150, deadline=None)
@given(
    levels=hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
        elements=st.sampled_from([0, 1, 2, 3, 254, 255]),
    ),
    data=st.data(),
)
def test_any_small_map_equals_opencv(levels, data):
    height, width = levels.shape
    corner = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    pairs = data.draw(st.lists(st.tuples(corner, corner), max_size=3))
    gt = np.array(
        [[min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1])] for a, b in pairs], np.int64
    ).reshape(-1, 4)
    expected = slow_level_ious(levels, gt)
    assert np.array_equal(as_curves(level_ious(torch.from_numpy(levels)[None], [gt])), expected)
    tree, _ = by_algorithm(maxtree_batch, levels, gt)
    assert np.array_equal(tree, expected)


def test_a_batch_is_its_images():
    rng = np.random.default_rng(7)
    maps = np.stack([make_map(kind, rng, 30, 40) for kind in KINDS])
    gt = [random_boxes(rng, 30, 40, i % 3) for i in range(len(maps))]
    together = level_ious(torch.from_numpy(maps), gt)
    for i in range(len(maps)):
        alone = level_ious(torch.from_numpy(maps[i : i + 1]), gt[i : i + 1])
        assert all(torch.equal(a[i], b[0]) for a, b in zip(together, alone, strict=True))


def test_pool_threads_give_the_same():
    rng = np.random.default_rng(8)
    batches = [torch.from_numpy(np.stack([make_map("cam", rng, 64, 64) for _ in range(4)])) for _ in range(6)]
    gt = [random_boxes(rng, 64, 64, 2) for _ in range(4)]
    with BoxPool(3) as pool:
        futures = [pool.submit(b, gt) for b in batches]
        for batch, future in zip(batches, futures, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(future.result(), level_ious(batch, gt), strict=True))
        ious, milliseconds = pool.submit_timed(batches[0], gt).result()
        assert milliseconds > 0
        assert torch.equal(ious.multi, level_ious(batches[0], gt).multi)
        with pytest.raises(ValueError, match="got 1"):
            pool.submit(batches[0], gt[:1])


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
def test_pool_threads_give_way_to_the_rest_of_the_process():
    def niceness():
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = niceness()
    with BoxPool(1) as pool:
        assert pool._executor.submit(niceness).result() == min(19, own + NICENESS)
    assert niceness() == own


def test_thresholds_follow_from_levels():
    rng = np.random.default_rng(9)
    scores = make_map("cam", rng, 60, 60) / 255.0
    gt = random_boxes(rng, 60, 60, 2)
    taus = np.arange(1001) / 1000
    found = level_ious(quantize(torch.from_numpy(scores)[None]), [gt])
    index = [int(t * int(found.peak)) for t in taus]
    assert np.array_equal(found.multi[0].numpy()[index], threshold_ious(scores, gt, taus, largest_only=False))
    assert np.array_equal(found.single[0].numpy()[index], threshold_ious(scores, gt, taus, largest_only=True))


def test_empty_batch_and_no_boxes():
    empty = level_ious(torch.zeros(0, 8, 8, dtype=torch.uint8), [])
    assert empty.multi.shape == (0, 256)
    none = level_ious(torch.full((1, 8, 8), 3, dtype=torch.uint8), [np.zeros((0, 4), int)])
    assert not none.multi.any()


def test_boxes_beyond_the_image_are_kept_as_published():
    levels, gt = np.full((10, 10), 9, np.uint8), np.array([[0, 0, 11, 10]])
    found = level_ious(torch.from_numpy(levels)[None], [gt])
    assert float(found.multi[0, 0]) == 100 / 132
    assert np.array_equal(as_curves(found), slow_level_ious(levels, gt))


@pytest.mark.parametrize("box", [[5, 2, 4, 8], [2, 5, 8, 4], [-1, 0, 4, 4]])
def test_impossible_boxes_name_the_image(box):
    levels = torch.zeros(2, 10, 10, dtype=torch.uint8)
    with pytest.raises(ValueError, match="'cat.jpg': ground-truth box 0"):
        level_ious(levels, [np.array([[0, 0, 1, 1]]), np.array([box])], image_ids=["dog.jpg", "cat.jpg"])
    with pytest.raises(ValueError, match="image 1 of the batch"):
        level_ious(levels, [np.array([[0, 0, 1, 1]]), np.array([box])])


def test_bad_shapes_and_types_are_told():
    good = [np.array([[0, 0, 1, 1]])]
    with pytest.raises(TypeError, match="uint8"):
        level_ious(torch.zeros(1, 5, 5), good)
    with pytest.raises(ValueError, match=r"\(B,H,W\)"):
        level_ious(torch.zeros(5, 5, dtype=torch.uint8), good)
    with pytest.raises(ValueError, match="512"):
        level_ious(torch.zeros(1, 513, 5, dtype=torch.uint8), good)
    with pytest.raises(ValueError, match=r"\(K,4\)"):
        level_ious(torch.zeros(1, 5, 5, dtype=torch.uint8), [np.array([0, 0, 1, 1])])
    with pytest.raises(TypeError, match="integers"):
        level_ious(torch.zeros(1, 5, 5, dtype=torch.uint8), [np.array([[0, 0, 1.5, 1]])])
    with pytest.raises(TypeError, match="float64"):
        quantize(torch.zeros(1, 5, 5))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        quantize(torch.full((1, 5, 5), 1.5, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        quantize(torch.full((1, 5, 5), torch.nan, dtype=torch.float64))


def test_degenerate_maps_have_no_contour():
    maps = torch.stack([torch.full((7, 7), 0.7), torch.zeros(7, 7), torch.full((7, 7), torch.nan)])
    levels = quantize_levels(maps)
    assert not levels.any()
    found = level_ious(levels, [np.array([[0, 0, 0, 0]])] * 3)
    assert (found.multi == 1).all()
