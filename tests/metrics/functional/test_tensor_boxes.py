"""The box engine of tensor operations against OpenCV and the compiled kernels, bit for bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from map_kinds import KINDS, make_map
from published_rules import random_boxes, slow_level_ious
from torch.utils._python_dispatch import TorchDispatchMode

from cambench.metrics.functional.boxes import join_boxes, level_ious
from cambench.metrics.functional.device_boxes import choose_engine, run_on_device
from cambench.metrics.functional.kernels.tensor import Truth, tensor_curves

CURVES = ("multi", "single", "single_first", "peak")


def batch_of(kind, rng, count, sides):
    height, width = rng.integers(*sides, 2)
    maps = np.stack([make_map(kind, rng, height, width) for _ in range(count)])
    return torch.from_numpy(maps), [random_boxes(rng, height, width, int(rng.integers(0, 4))) for _ in range(count)]


def assert_equal_engines(levels, boxes, no_contour="zero"):
    compiled = level_ious(levels, boxes, no_contour=no_contour, engine="cpu")
    tensor = level_ious(levels, boxes, no_contour=no_contour, engine="tensor")
    for name in CURVES:
        assert torch.equal(getattr(tensor, name), getattr(compiled, name)), name


def served(levels, boxes):
    joined, offsets = join_boxes(boxes, len(levels))
    rows = np.zeros((len(levels), 4, 4), np.int64)
    for i in range(len(levels)):
        own = joined[offsets[i] : offsets[i + 1]]
        rows[i, : len(own)] = own
    return tensor_curves(levels, Truth(torch.from_numpy(rows), torch.from_numpy(np.diff(offsets))))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_map_equals_opencv_where_it_is_served(kind):
    rng = np.random.default_rng([5, list(KINDS).index(kind)])
    levels, boxes = batch_of(kind, rng, 4, (5, 33))
    curves, taken = served(levels, boxes)
    for i in taken.nonzero()[:, 0].tolist():
        assert np.array_equal(curves[:, i].numpy(), slow_level_ious(levels[i].numpy(), boxes[i])), (kind, i)
    if kind in {"cam", "equal_stamps", "nested", "single_pixel", "constant", "zero"}:
        assert taken.all()


@pytest.mark.parametrize("kind", ["cam", "blurred", "noise"])
def test_large_maps_equal_the_compiled_kernels(kind):
    rng = np.random.default_rng([6, list(KINDS).index(kind)])
    assert_equal_engines(*batch_of(kind, rng, 2, (120, 225)))


@settings(max_examples=12, deadline=None)
@given(
    maps=hnp.arrays(
        np.uint8,
        hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=12),
        elements=st.sampled_from([0, 1, 2, 254, 255]),
    ),
    seed=st.integers(0, 99),
    no_contour=st.sampled_from(["zero", "whole"]),
)
def test_any_few_levels_equal_the_compiled_kernels(maps, seed, no_contour):
    rng = np.random.default_rng(seed)
    boxes = [random_boxes(rng, *maps.shape[1:], int(rng.integers(0, 3))) for _ in maps]
    assert_equal_engines(torch.from_numpy(maps), boxes, no_contour)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sides", [(1, 9), (9, 65), (200, 225), (480, 513)])
def test_long_sweep(kind, sides):
    rng = np.random.default_rng([7, list(KINDS).index(kind), *sides])
    for _ in range(40 if sides[1] < 100 else 2):
        assert_equal_engines(*batch_of(kind, rng, 4, sides))


def test_crowded_maps_are_taken_by_the_compiled_kernels_in_the_same_call():
    rng = np.random.default_rng(8)
    kinds = ["cam", "noise", "cam", "checkerboard"]
    levels = torch.from_numpy(np.stack([make_map(kind, rng, 96, 96) for kind in kinds]))
    boxes = [random_boxes(rng, 96, 96, n) for n in (1, 2, 0, 3)]
    assert served(levels, boxes)[1].tolist() == [True, False, True, False]
    assert_equal_engines(levels, boxes)


class CountOperations(TorchDispatchMode):
    """Counts the operations that reach a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        return func(*args, **(kwargs or {}))


def test_the_number_of_operations_does_not_depend_on_the_maps_or_their_number():
    rng = np.random.default_rng(9)
    counts = set()
    for size, kind in [(2, "cam"), (3, "noise"), (7, "zero")]:
        levels = torch.from_numpy(np.stack([make_map(kind, rng, 40, 48) for _ in range(size)]))
        truth = Truth(torch.tensor([[[3, 4, 20, 30]]] * size), torch.ones(size, dtype=torch.int64))
        with CountOperations() as operations:
            tensor_curves(levels, truth)
        counts.add(operations.count)
    assert len(counts) == 1


def test_no_operation_waits_for_the_values():
    """On ``meta`` there are no values: whatever needs one, or a shape that follows from one, raises."""
    levels = torch.empty(2, 32, 48, dtype=torch.uint8, device="meta")
    truth = Truth(
        torch.empty(2, 1, 4, dtype=torch.int64, device="meta"), torch.empty(2, dtype=torch.int64, device="meta")
    )
    curves, taken = tensor_curves(levels, truth)
    assert curves.shape == (3, 2, 256)
    assert taken.shape == (2,)


def test_engines_are_chosen_by_device():
    assert choose_engine("auto", torch.device("cpu")) == "cpu"
    assert choose_engine("auto", torch.device("cuda")) == "tensor"
    assert choose_engine("auto", torch.device("mps")) == "cpu"
    with pytest.raises(ValueError, match="no float64"):
        choose_engine("tensor", torch.device("mps"))
    with pytest.raises(ValueError, match="no box engine 'gpu'; there are auto, cpu, tensor, triton"):
        level_ious(torch.zeros(1, 4, 4, dtype=torch.uint8), [np.zeros((0, 4), int)], engine="gpu")


def test_an_empty_batch_has_empty_curves():
    found = run_on_device(torch.zeros(0, 4, 4, dtype=torch.uint8), np.zeros((0, 4), np.int64), np.zeros(1, np.int64))
    assert found.multi.shape == (0, 256)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_a_cuda_device_equals_the_compiled_kernels(kind):
    rng = np.random.default_rng([10, list(KINDS).index(kind)])
    for sides in [(5, 57), (200, 225)]:
        levels, boxes = batch_of(kind, rng, 8, sides)
        here = level_ious(levels, boxes, engine="cpu")
        there = level_ious(levels.cuda(), boxes)
        assert there.multi.device.type == "cuda"
        for name in CURVES:
            assert torch.equal(getattr(there, name).cpu(), getattr(here, name)), (kind, name)
