"""Extremal Perturbations: its mask, its pyramid, its area, and what it finds on a network that looks at one corner."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cambench.baselines.backbones.split import SplitNetwork, chain
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.rescoring.extremal import SCHEDULE, perturb, pyramid, smooth_mask
from cambench.baselines.heads.heads import GapLinear

MODULE = sys.modules[smooth_mask.__module__]


def test_the_mask_is_the_smooth_maximum_over_cells() -> None:
    p = torch.rand(2, 1, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = smooth_mask(p, (20, 28), SCHEDULE)
    assert found.shape == (2, 20, 28)
    for u, v in ((0, 0), (9, 13), (19, 27)):
        values = []
        # Cells of the neighbourhood that lie outside the image hold zero.
        for i in range(u // 7 - 4, u // 7 + 5):
            for j in range(v // 7 - 4, v // 7 + 5):
                apart = torch.tensor([u - (7 * i + 3), v - (7 * j + 3)], dtype=torch.float64).norm() / 21
                inside = 0 <= i < 3 and 0 <= j < 4
                cell = p[:, 0, i, j] if inside else torch.zeros(2, dtype=torch.float64)
                values.append(torch.exp(-2 * (apart - 0.5).clamp_min(0) ** 2) * cell)
        stack = torch.stack(values)
        expected = (stack * torch.exp(20 * stack)).sum(0) / torch.exp(20 * stack).sum(0)
        torch.testing.assert_close(found[:, u, v], expected)


@pytest.mark.parametrize("cache", [1, 1 << 30])
def test_the_masks_gradient_is_that_of_the_formula(cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside autograd through the smooth maximum as written, over every cell at once; in pieces or whole."""
    monkeypatch.setattr(MODULE, "CACHE", cache)
    p = torch.rand(2, 1, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    pixels = torch.cartesian_prod(torch.arange(21), torch.arange(28))
    cells = torch.cartesian_prod(torch.arange(-5, 8), torch.arange(-5, 9))
    step = (pixels[:, None] // 7 - cells).abs().amax(-1) <= 4
    apart = (pixels[:, None] - (7 * cells + 3)).double().norm(dim=-1) / 21
    kernel = torch.exp(-2 * (apart - 0.5).clamp_min(0) ** 2)
    held = torch.nn.functional.pad(p[:, 0], (5, 5, 5, 5)).flatten(1)[:, None]
    values = kernel * held
    weights = torch.where(step, torch.exp(20 * values), 0)
    expected = ((weights * values).sum(-1) / weights.sum(-1)).view(2, 21, 28)
    found = smooth_mask(p, (21, 28), SCHEDULE)
    torch.testing.assert_close(found, expected)
    upstream = torch.rand(2, 21, 28, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = [torch.autograd.grad((mask * upstream).sum(), p)[0] for mask in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_the_pyramid_ends_at_the_image_and_is_read_linearly() -> None:
    images = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    levels = pyramid(images, SCHEDULE)
    torch.testing.assert_close(levels[:, -1], images)
    assert levels[0, 0].std() < 0.2 * images.std()
    torch.testing.assert_close(perturb(levels, torch.ones(1, 24, 24).double()), images)
    torch.testing.assert_close(perturb(levels, torch.zeros(1, 24, 24).double()), levels[:, 0])
    between = perturb(levels, torch.full((1, 24, 24), 2.25 / 7, dtype=torch.float64))
    torch.testing.assert_close(between, 0.75 * levels[:, 2] + 0.25 * levels[:, 3])
    flat = torch.full((1, 3, 24, 24), 0.3, dtype=torch.float64)
    torch.testing.assert_close(pyramid(flat, SCHEDULE), flat[:, None].expand(-1, 8, -1, -1, -1))


class Corner(nn.Module):
    """The contrast of the pixels in two opposite corners, one a channel: a mirrored image shows neither elsewhere."""

    def forward(self, images: Tensor) -> Tensor:
        contrast = images.diff(dim=-1).abs().mean(1)
        top, bottom = contrast[:, :16].mean((1, 2)), contrast[:, 32:].mean((1, 2))
        return torch.stack((top, bottom), 1)[:, :, None, None]


@pytest.fixture
def corners() -> Evidence:
    net = SplitNetwork("corner", chain([("look", Corner())]), GapLinear(2, 2, bias=False), "body.look")
    with torch.no_grad():
        net.head().get_submodule("linear").weight.copy_(60 * torch.eye(2))
    net.freeze()
    images = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    return Evidence(net.features(images), net.head(), torch.tensor([0, 1]), ("a", "b"), images, net)


def test_it_keeps_what_the_network_looks_at(corners: Evidence, monkeypatch: pytest.MonkeyPatch) -> None:
    # Fewer steps, and a kernel that fits the small image.
    monkeypatch.setattr(MODULE, "SCHEDULE", replace(SCHEDULE, steps=120, rate=0.05, cell=6, width=6.0, area=0.2))
    with torch.no_grad():
        found = CAMS.get("extremal").fn(corners)
    assert found.shape == (2, 48, 48)
    assert 0 <= found.min() <= found.max() <= 1
    upper, lower = found[:, :16].mean((1, 2)), found[:, 32:].mean((1, 2))
    assert upper[0] > 3 * lower[0]
    assert lower[1] > 3 * upper[1]
    # The constraint is on the sorted mask: a fifth of it is kept.
    assert (found > 0.5).float().mean((1, 2)).tolist() == pytest.approx([0.2, 0.2], abs=0.08)
    # Images are optimised side by side: one alone gives the same mask.
    alone = Evidence(
        corners.features[:1], corners.head, corners.target[:1], ("a",), corners.images[:1], corners.backbone
    )
    torch.testing.assert_close(CAMS.get("extremal").fn(alone), found[:1], rtol=1e-3, atol=1e-4)
