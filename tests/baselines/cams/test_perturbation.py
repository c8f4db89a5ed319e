"""RISE and occlusion: against loops, and RISE's expectation on a linear model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.rescoring.rise import mask_bank
from cambench.baselines.contracts import Branch

Make = Callable[..., Any]
CPU = torch.device("cpu")
RISE = sys.modules[mask_bank.__module__]


def activated(e: Evidence, i: int, image: Tensor, branch: Branch) -> float:
    logits = e.head(e.backbone.features(image[None]))[0]
    scores = logits.softmax(0) if branch == "softmax" else logits.sigmoid()
    return scores[e.target[i]].item()


@pytest.mark.parametrize("branch", ["softmax", "sigmoid"])
@pytest.mark.parametrize("budget", [1, 2**20])
def test_rise_by_loops(given_network: Make, monkeypatch: pytest.MonkeyPatch, branch: Branch, budget: int) -> None:
    monkeypatch.setattr(RISE, "MASKS", 20)
    e = given_network("mlp", True)[1][branch]
    e.chunk_bytes = budget
    found = CAMS.get("rise").fn(e)
    bank = mask_bank(0, 20, (5, 4), CPU).double()
    for i in range(3):
        expected = sum(activated(e, i, e.images[i] * m, branch) * m for m in bank) / (0.5 * 20)
        torch.testing.assert_close(found[i], expected, rtol=1e-10, atol=1e-12)


def test_rise_expectation_on_a_linear_model(given_network: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """f(x ⊙ m) = ⟨a, x ⊙ m⟩: E[S] = Σ_j a_j·x_j·E[m_j·m]/p; the sum over a bank approaches it as 1/√n."""
    count = 3000
    monkeypatch.setattr(RISE, "MASKS", count)
    e = given_network("gap_linear", True)[1]["softmax"]
    weights = e.head.get_parameter("linear.weight").detach()[e.target]
    linear = (weights[:, :, None, None] * e.images).sum(1).flatten(1) / 20

    def score(self: Evidence, images: Tensor) -> Tensor:
        rows = weights.repeat_interleave(len(images) // 3, 0)
        return (images.mean((-2, -1)) * rows).sum(1)

    monkeypatch.setattr(Evidence, "activated_scores", score)
    found = CAMS.get("rise").fn(e).flatten(1)
    other = mask_bank(count, 40 * count, (5, 4), CPU).flatten(1).double()
    moments = other.T @ other / len(other)
    expected = linear @ moments / 0.5
    samples = (
        (linear @ mask_bank(0, count, (5, 4), CPU).flatten(1).double().T)[:, :, None]
        * mask_bank(0, count, (5, 4), CPU).flatten(1).double()
        / 0.5
    )
    error = samples.std(1) / np.sqrt(count)
    assert ((found - expected).abs() / error).max() < 4.5


def test_masks_are_fair_and_numbered() -> None:
    bank = mask_bank(0, 4000, (28, 21), CPU)
    assert bank.shape == (4000, 28, 21)
    assert 0 <= bank.min() <= bank.max() <= 1
    # Each pixel is kept half of the time: its standard deviation is below 0.5.
    assert (bank.mean(0) - 0.5).abs().max() < 4.5 * 0.5 / np.sqrt(4000)
    assert torch.equal(mask_bank(700, 703, (28, 21), CPU), bank[700:703])
    assert bank.flatten(1).unique(dim=0).shape[0] == 4000


@pytest.mark.parametrize("branch", ["softmax", "sigmoid"])
@pytest.mark.parametrize("budget", [1, 2**20])
def test_occlusion_by_loops(given_network: Make, branch: Branch, budget: int) -> None:
    network, evidence = given_network("mlp", True)
    given = evidence[branch]
    images = torch.rand(3, 6, 20, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    e = Evidence(given.features, given.head, given.target, given.image_ids, images, network)
    e.chunk_bytes = budget
    found = CAMS.get("occlusion").fn(e)
    assert found.shape == (3, 5, 4)
    for i in range(3):
        whole = activated(e, i, images[i], branch)
        for p in range(5):
            for q in range(4):
                # Cells are 4×4 pixels and squares 8×8, centred on the cell and clipped.
                hidden = images[i].clone()
                hidden[:, max(0, 4 * p - 2) : 4 * p + 6, max(0, 4 * q - 2) : 4 * q + 6] = 0
                expected = whole - activated(e, i, hidden, branch)
                assert found[i, p, q].item() == pytest.approx(expected, rel=1e-9, abs=1e-13)
