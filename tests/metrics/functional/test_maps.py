"""The dtype chain: resize, min-max and floor in float64, bit for bit."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from published_rules import published_levels, published_min_max

from cambench.metrics.functional.boxes import quantize, quantize_levels
from cambench.metrics.functional.maps import min_max, resize_maps


@pytest.mark.parametrize(
    "sides", [(5, 5, 224), (7, 7, 224), (14, 10, 224), (28, 28, 100), (1, 1, 8), (56, 40, 64), (60, 70, 50), (9, 9, 9)]
)
def test_bicubic_is_bit_equal_to_opencv(sides):
    *shape, size = sides
    maps = np.random.default_rng(0).standard_normal((3, *shape))
    up = resize_maps(torch.from_numpy(maps), size, "bicubic").numpy()
    for ours, low in zip(up, maps, strict=True):
        # One flat pixel stays what it is; OpenCV's weights add up to 1 only up to rounding.
        expected = cv2.resize(low, (size, size), interpolation=cv2.INTER_CUBIC) if low.size > 1 else low[0, 0]
        assert np.array_equal(ours, np.broadcast_to(expected, ours.shape))


def test_levels_are_the_published_ones_bit_for_bit():
    rng = np.random.default_rng(1)
    for side in (5, 6, 7, 11, 14, 28):
        maps = rng.standard_normal((8, side, side)).astype(np.float32)
        maps[4:] = np.maximum(maps[4:], 0).round(1)
        levels = quantize_levels(torch.from_numpy(maps)).numpy()
        for ours, low in zip(levels, maps, strict=True):
            assert np.array_equal(ours, published_levels(low, 224))


def test_float32_would_flip_levels():
    maps = torch.from_numpy(np.random.default_rng(2).standard_normal((16, 7, 7)))
    up = resize_maps(maps, 224, "bicubic")
    single = up.float()
    low, high = single.amin((1, 2), keepdim=True), single.amax((1, 2), keepdim=True)
    flipped = ((single - low) / (high - low) * 255).to(torch.uint8) != quantize(min_max(up)[0])
    assert flipped.any()


@pytest.mark.parametrize("value", [0.7, 0.1, 1 / 3, 5.1, 1e-300, 0.0, -3.0])
@pytest.mark.parametrize("kernel", ["bicubic", "bilinear"])
def test_constant_maps_stay_constant(value, kernel):
    norm, flags = min_max(resize_maps(torch.full((1, 5, 5), value, dtype=torch.float64), 224, kernel))
    assert not norm.any()
    assert flags.tolist() == [1]


def test_min_max_equals_the_published_rule():
    rng = np.random.default_rng(3)
    maps = rng.standard_normal((6, 20, 20)) * 10.0 ** rng.integers(-8, 8, (6, 1, 1))
    maps[1] = 4.0
    maps[2, 3, 3] = np.nan
    norm, flags = min_max(torch.from_numpy(maps))
    assert flags.dtype == torch.uint8
    assert flags.tolist() == [0, 1, 2, 0, 0, 0]
    assert np.array_equal(norm.numpy(), np.stack([published_min_max(m) for m in maps]))


def test_infinity_is_degenerate():
    maps = torch.zeros(2, 4, 4)
    maps[0, 1, 1], maps[1, 1, 1] = torch.inf, -torch.inf
    norm, flags = min_max(maps)
    assert flags.tolist() == [2, 2]
    assert not norm.any()


def test_bad_maps_are_told():
    with pytest.raises(ValueError, match=r"\(B,h,w\)"):
        resize_maps(torch.zeros(3, 3), 8, "bicubic")
    with pytest.raises(ValueError, match="nearest"):
        resize_maps(torch.zeros(1, 3, 3), 8, "nearest")
    with pytest.raises(ValueError, match="size"):
        resize_maps(torch.zeros(1, 3, 3), 0, "bicubic")
    assert resize_maps(torch.zeros(0, 3, 3), 8, "bicubic").shape == (0, 8, 8)
    assert min_max(torch.zeros(0, 8, 8))[1].shape == (0,)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), height=st.integers(1, 30), width=st.integers(1, 30), size=st.integers(8, 64))
def test_compiled_chain_equals_the_tensor_code_bit_for_bit(seed, height, width, size):
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.randint(-9, 9, (6, 1, 1), generator=generator)
    maps = torch.randn(6, height, width, generator=generator, dtype=torch.float64) * scale
    maps[1] = maps[1, 0, 0]
    maps[2, -1, -1], maps[3, 0, -1], maps[4, -1, 0] = torch.nan, torch.inf, -torch.inf
    followed = maps.clone().requires_grad_()
    compiled, tensor_code = resize_maps(maps, size, "bicubic"), resize_maps(followed, size, "bicubic")
    assert tensor_code.requires_grad
    assert torch.equal(bits(compiled), bits(tensor_code))
    (norm, flags), (slow, slow_flags) = min_max(compiled), min_max(tensor_code)
    assert torch.equal(norm, slow.detach())
    assert torch.equal(flags, slow_flags)
    assert torch.equal(quantize(norm), (slow.detach() * 255).to(torch.uint8))


def bits(maps):
    # NaN equals nothing, and its payload is the machine's affair.
    return torch.where(maps.isnan(), torch.nan, maps).detach().view(torch.int64)
