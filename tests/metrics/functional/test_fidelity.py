"""Fidelity scores against plain loops; insertion, deletion and pointing on cases that can be worked out by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from cambench.metrics.functional import fidelity
from cambench.metrics.functional.perturbation import area_under, blur, perturbation_curves
from cambench.metrics.functional.pointing import box_regions, energy_in_region, pointing_hits

PAIRS = st.lists(st.tuples(st.floats(1e-3, 1), st.floats(0, 1)), min_size=1, max_size=20)


@settings(max_examples=60, deadline=None)
@given(PAIRS)
def test_scores_equal_plain_loops(pairs):
    y, o = torch.tensor(pairs, dtype=torch.float64).unbind(1)
    drop = 100 * np.mean([max(a - b, 0) / a for a, b in pairs])
    gain = 100 * np.mean([max(b - a, 0) / (1 - a) if a < 1 else 0 for a, b in pairs])
    assert float(fidelity.average_drop(y, o)) == pytest.approx(drop, abs=1e-9)
    assert float(fidelity.average_gain(y, o)) == pytest.approx(gain, abs=1e-9)
    assert float(fidelity.increase_in_confidence(y, o)) == pytest.approx(100 * np.mean([b > a for a, b in pairs]))
    order = torch.randperm(len(y))
    assert torch.equal(fidelity.average_drop(y[order], o[order]), fidelity.average_drop(y, o))


def test_undefined_scores_are_told():
    one = torch.ones(2)
    with pytest.raises(ValueError, match="image 1"):
        fidelity.average_drop(torch.tensor([0.5, 0.0]), torch.zeros(2))
    with pytest.raises(ValueError, match="image 0"):
        fidelity.average_gain(torch.tensor([1.5, 0.5]), one)
    with pytest.raises(ValueError, match="NaN"):
        fidelity.increase_in_confidence(torch.tensor([torch.nan, 0.5]), one)
    with pytest.raises(ValueError, match="no image"):
        fidelity.average_drop(torch.zeros(0), torch.zeros(0))


def test_evidence_precision():
    maps = torch.zeros(3, 4, 4)
    maps[0, :2], maps[1, 0, 0] = 1, 5
    evidence = torch.zeros(3, 4, 4, dtype=torch.bool)
    evidence[:, 0] = True
    assert fidelity.evidence_precision(maps, evidence).tolist() == [0.5, 1.0, 0.0]
    with pytest.raises(ValueError, match="image 2"):
        fidelity.evidence_precision(maps - torch.tensor([0.0, 0.0, 1.0])[:, None, None], evidence)
    with pytest.raises(ValueError, match=r"\(B,R,R\)"):
        fidelity.evidence_precision(maps, evidence[:2])


def test_perturbation_curves_equal_a_plain_loop():
    random = torch.Generator().manual_seed(0)
    start, end = torch.rand((2, 3, 6, 6), generator=random)
    maps = (torch.rand((4, 6, 6), generator=random) * 5).round()
    weight = torch.rand((3, 6, 6), generator=random)
    calls = []

    def score(images):
        calls.append(len(images))
        return (images * weight).sum((1, 2, 3))

    curves = perturbation_curves(score, start, end, maps, 5)
    assert calls == [4 * 4 + 2]
    for m, curve in zip(maps, curves, strict=True):
        pixels = sorted(range(36), key=lambda p: (-float(m.flatten()[p]), p))
        for k in range(6):
            image = start.clone().flatten(1)
            chosen = pixels[: k * 36 // 5]
            image[:, chosen] = end.flatten(1)[:, chosen]
            assert float(curve[k]) == pytest.approx(float(score(image.view(1, 3, 6, 6))[0]), rel=1e-5)
    areas = [(c[:-1] + c[1:]).sum() / 2 / 5 for c in curves.tolist() for c in [np.array(c)]]
    assert area_under(curves).tolist() == pytest.approx(areas)


def test_perturbation_says_what_is_wrong():
    image, maps = torch.zeros(3, 4, 4), torch.zeros(1, 4, 4)
    with pytest.raises(ValueError, match="step"):
        perturbation_curves(lambda x: x.sum((1, 2, 3)), image, image, maps, 0)
    with pytest.raises(ValueError, match="NaN"):
        perturbation_curves(lambda x: x.sum((1, 2, 3)), image, image, maps + torch.nan, 3)
    with pytest.raises(ValueError, match="score function"):
        perturbation_curves(lambda x: x, image, image, maps, 3)


def test_blur_is_a_gaussian():
    import cv2

    image = torch.rand(1, 3, 40, 40, dtype=torch.float64)
    expected = cv2.GaussianBlur(image[0].permute(1, 2, 0).numpy(), (11, 11), 5, borderType=cv2.BORDER_CONSTANT)
    assert np.allclose(blur(image, 11, 5.0)[0].permute(1, 2, 0).numpy(), expected, atol=1e-12)


def test_pointing_tolerance_is_a_radius():
    regions = box_regions([np.array([[10, 10, 12, 12]])] * 4, 20, torch.device("cpu"))
    assert regions[0].nonzero().amin(0).tolist() == [10, 10]
    assert regions[0].sum() == 9
    maps = torch.zeros(4, 20, 20)
    for i, (y, x) in enumerate([(11, 11), (10, 7), (7, 7), (0, 0)]):
        maps[i, y, x] = 1
    assert pointing_hits(maps, regions, 3).tolist() == [True, True, False, False]
    assert pointing_hits(maps, regions, 5).tolist() == [True, True, True, False]
    assert pointing_hits(torch.ones(4, 20, 20), regions, 100).tolist() == [False] * 4
    assert pointing_hits(maps + torch.nan, regions, 100).tolist() == [False] * 4
    assert energy_in_region(maps, regions).tolist() == [1, 0, 0, 0]


def test_regions_join_boxes():
    regions = box_regions([np.array([[0, 0, 1, 1], [1, 1, 2, 2]]), np.zeros((0, 4), int)], 4, torch.device("cpu"))
    assert regions[0].sum() == 7
    assert not regions[1].any()


@pytest.mark.parametrize("shape", [(14, 14), (7, 9), (56, 3), (60, 60), (224, 224), (1, 1)])
@pytest.mark.parametrize(
    ("kernel", "normalised"), [("bilinear", "low_res"), ("bilinear", "full_res"), ("bicubic", "no")]
)
def test_image_masks_equal_the_plain_chain(shape, kernel, normalised):
    maps = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 1
    if normalised == "no":
        maps = (maps - 1) / 3
    expected = maps
    if normalised == "low_res" and shape != (1, 1):
        low = maps.amin((1, 2), keepdim=True)
        expected = (maps - low) / (maps.amax((1, 2), keepdim=True) - low)
    expected = F.interpolate(expected[:, None], size=(224, 224), mode=kernel, align_corners=False)[:, 0]
    if normalised == "full_res":
        low = expected.amin((1, 2), keepdim=True)
        expected = (expected - low) / (expected.amax((1, 2), keepdim=True) - low)
    if normalised != "no" and shape == (1, 1):
        expected = torch.zeros(4, 224, 224)
    masks = fidelity.image_masks(maps, 224, kernel, normalised)
    assert masks.dtype == torch.float32
    assert torch.allclose(masks.double(), expected.clamp(0, 1).double(), atol=1e-5 if kernel == "bicubic" else 2e-7)


def test_image_mask_of_a_map_that_is_not_finite_hides_the_image():
    maps = torch.rand(3, 14, 14)
    maps[1, 3, 3], maps[2, 0, 0] = torch.nan, torch.inf
    for place in ("low_res", "full_res"):
        masks = fidelity.image_masks(maps, 224, "bilinear", place)
        assert masks[0].max() > 0.9
        assert not masks[1:].any()
