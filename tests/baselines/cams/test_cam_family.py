"""Methods of the CAM family by hand, by float64 brute force, and their promises: finite, deterministic, batch-free."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.gradient import finer_cam
from cambench.baselines.cams.gradient.eigen import first_component
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.rescoring import rise
from cambench.baselines.cams.rescoring.extremal import AreaSchedule
from cambench.baselines.cams.score_map import combine, raw_map, score_map
from cambench.baselines.contracts import BACKBONES, HEADS, Branch
from cambench.baselines.heads.heads import GapLinear, ModuleHead
from cambench.hashing import normals, uniforms
from cambench.protocol import PROTOCOLS

Make = Callable[..., Any]
NEW = [
    *("hirescam", "finercam", "shapleycam", "eigencam", "eigengradcam"),
    *("smoothgradcam++", "ablationcam", "scorecam", "iscam", "sscam", "rise", "occlusion"),
]


@pytest.fixture(autouse=True)
def few_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bank of a few masks: the sums are the same, 4,000 of them cost a minute."""
    monkeypatch.setattr(rise, "MASKS", 24)
    monkeypatch.setattr(finer_cam, "SIMILAR", 2)


def made(name: str, e: Evidence) -> Tensor:
    return CAMS.get(name).fn(e)


def by_hand() -> Evidence:
    """Two channels on 1×2 cells, logits 2·mean(F_0) − 3·mean(F_1) and mean(F_1)."""
    head = GapLinear(2, 2, bias=False).double()
    head.linear.weight.data = torch.tensor([[2.0, -3.0], [0.0, 1.0]], dtype=torch.float64)
    features = torch.tensor([[[[1.0, 3.0]], [[0.0, 4.0]]]], dtype=torch.float64)
    return Evidence(features, head, torch.tensor([0]), ("a",))


def test_by_hand() -> None:
    e = by_hand()
    assert raw_map(CAMS.get("hirescam"), e, clamp=False).tolist() == [[[1.0, 3.0 - 6.0]]]
    assert raw_map(CAMS.get("hirescam"), e, clamp=True).tolist() == [[[1.0, 3.0]]]
    # y = −2; without channel 0: −6, without channel 1: 4.
    assert made("ablationcam", e).flatten().tolist() == [4.0, -6.0]
    # One other class: S = y_0 − y_1, whose gradient is (2, −4)/2 on every cell.
    torch.testing.assert_close(made("finercam", e).flatten(), torch.tensor([1.0, -2.0]).double())
    # OᵀO = [[10, 12], [12, 16]]: eigenvector (12, λ − 10), λ = 13 + √153.
    expected = np.array([12, 3 + np.sqrt(153)])
    np.testing.assert_allclose(made("eigencam", e).flatten(), expected / np.linalg.norm(expected), rtol=1e-12)


@pytest.mark.parametrize("kind", ["gap_linear", "mlp"])
@pytest.mark.parametrize("nonnegative", [True, False])
def test_ablation_equals_brute_force(given_network: Make, kind: str, nonnegative: bool) -> None:
    e = given_network(kind, nonnegative)[1]["sigmoid"]
    found = made("ablationcam", e)
    for i in range(3):
        k = e.target[i]
        whole = e.head(e.features[i : i + 1])[0, k]
        for channel in range(6):
            ablated = e.features[i : i + 1].clone()
            ablated[:, channel] = 0
            expected = (whole - e.head(ablated)[0, k]).item()
            assert found[i, channel].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)
    e.chunk_bytes = 1
    torch.testing.assert_close(made("ablationcam", e), found, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("nonnegative", [True, False])
def test_eigen_methods_equal_numpys_svd(given_network: Make, nonnegative: bool) -> None:
    e = given_network("mlp", nonnegative)[1]["softmax"]
    for name, channels in (("eigencam", e.features), ("eigengradcam", e.gradients * e.features)):
        found = raw_map(CAMS.get(name), e, clamp=False).numpy()
        for ours, matrix in zip(found, channels.flatten(2).numpy(), strict=True):
            u, s, _ = np.linalg.svd(matrix.T, full_matrices=False)
            projection = u[:, 0] * s[0]
            projection *= np.sign(projection.sum())
            np.testing.assert_allclose(ours.ravel(), projection, rtol=1e-9, atol=1e-10 * s[0], err_msg=name)


def test_eigenvector_sign_is_stated() -> None:
    """Flipping every sign flips the vector's projection back; a projection that sums to zero has a positive peak."""
    channels = torch.randn(4, 5, 3, 3, generator=torch.Generator().manual_seed(0))
    for sign in (1, -1):
        vector = first_component(sign * channels)
        projection = torch.einsum("bn,bnpq->bpq", vector, sign * channels.double())
        assert (projection.sum((1, 2)) >= 0).all()
        torch.testing.assert_close(vector.norm(dim=1), torch.ones(4).double())
    balanced = torch.tensor([[[[-3.0, 1.0, 2.0]], [[0.0, 0.0, 0.0]]]])
    assert first_component(balanced).tolist() == [[-1.0, 0.0]]
    assert first_component(-balanced).tolist() == [[1.0, 0.0]]
    assert first_component(torch.zeros(1, 2, 2, 2)).tolist() == [[0.0, 0.0]]
    tiny, large = first_component(channels * 1e-30), first_component(channels * 1e30)
    torch.testing.assert_close(tiny, large, rtol=1e-6, atol=1e-6)


def masked_logits(e: Evidence, i: int, channel: int, factor: float = 1.0, noise: Tensor | None = None) -> float:
    """Target logit of image i under one channel's mask, with nothing batched."""
    size = e.images.shape[-2:]
    mask = F.interpolate(e.features[i : i + 1, channel : channel + 1], size=size, mode="bilinear", align_corners=False)
    mask = (mask - mask.min()) / (mask.max() - mask.min()) if mask.max() > mask.min() else torch.zeros_like(mask)
    mask = mask[0, 0] * factor + (0 if noise is None else noise)
    return e.head(e.backbone.features(e.images[i : i + 1] * mask))[0, e.target[i]].item()


@pytest.mark.parametrize("branch", ["softmax", "sigmoid"])
@pytest.mark.parametrize("budget", [1, 2**20])
def test_score_cams_equal_brute_force(given_network: Make, branch: Branch, budget: int) -> None:
    e = given_network("mlp", True)[1][branch]
    e.chunk_bytes = budget
    e.features[0, 2] = 1.5  # A constant channel: its mask is 0, as nothing can be made of it.
    count = e.images[0, 0].numel()
    scores = {name: np.zeros((3, 6)) for name in ("scorecam", "iscam", "sscam")}
    for i in range(3):
        for channel in range(6):
            scores["scorecam"][i, channel] = masked_logits(e, i, channel)
            scores["iscam"][i, channel] = np.mean([masked_logits(e, i, channel, j / 10) for j in range(1, 11)])
            noises = [normals(e.seeds[i], torch.tensor(s * 6 + channel), count, torch.float64) for s in range(35)]
            drawn = [masked_logits(e, i, channel, 1, 2 * n.view(e.images.shape[-2:])) for n in noises]
            scores["sscam"][i, channel] = np.mean(drawn)
    for name, logits in scores.items():
        weights = np.exp(logits - logits.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        np.testing.assert_allclose(made(name, e)[..., 0, 0], weights, rtol=1e-9, atol=1e-12, err_msg=name)


def test_masks_are_streamed(given_network: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    e = given_network("mlp", True)[1]["softmax"]
    seen: list[int] = []
    plain = Evidence._image_logits
    monkeypatch.setattr(Evidence, "_image_logits", lambda self, x: (seen.append(len(x)), plain(self, x))[1])
    for budget, rows in ((1, 3), (2 * e.images.numel() * 8, 6)):
        e.chunk_bytes = budget
        seen.clear()
        made("scorecam", e)
        assert max(seen) == rows
        assert sum(seen) == 3 * 6, "N forwards of each image and no more"


def test_shapley_equals_a_dense_hessian(given_network: Make) -> None:
    e = given_network("mlp", True)[1]["softmax"]
    found = made("shapleycam", e)
    for i in range(3):

        def rest(flat: Tensor, i: int = i) -> Tensor:
            logits = e.head(flat.view(1, 6, 5, 4))[0]
            return logits[e.target[i]] + logits.log_softmax(0)[e.target[i]]

        flat = e.features[i].flatten()
        gradient = torch.autograd.functional.jacobian(rest, flat)
        hessian = torch.autograd.functional.hessian(rest, flat)
        assert hessian.abs().max() > 1e-6, "curvature to speak of"
        expected = (gradient - hessian @ flat / 2).view(6, -1).mean(1)
        torch.testing.assert_close(found[i].flatten(), expected, rtol=1e-9, atol=1e-12)


def test_shapley_through_fused_attention() -> None:
    """A head that pools by attention: the fused kernels have no second derivative, the explicit product has."""
    linear = nn.Linear(6, 4).double()

    class Pooling(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            tokens = features.flatten(2).mT[:, None]
            return linear(F.scaled_dot_product_attention(tokens, tokens, tokens)[:, 0].mean(1))

    features = torch.randn(1, 6, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    e = Evidence(features, ModuleHead(Pooling(), 4, ()), torch.tensor([2]), ("a",))

    def rest(flat: Tensor) -> Tensor:
        tokens = flat.view(6, 6).T
        logits = linear(((tokens @ tokens.T / 6**0.5).softmax(1) @ tokens).mean(0))
        return logits[2] + logits.log_softmax(0)[2]

    flat = features.flatten()
    gradient, hessian = (f(rest, flat) for f in (torch.autograd.functional.jacobian, torch.autograd.functional.hessian))
    expected = (gradient - hessian @ flat / 2).view(6, -1).mean(1)
    torch.testing.assert_close(made("shapleycam", e).flatten(), expected, rtol=1e-9, atol=1e-12)


def test_finer_equals_finite_differences(given_network: Make) -> None:
    e = given_network("mlp", True)[1]["softmax"]
    found = made("finercam", e)
    logits = e.logits
    for i in range(3):
        k = int(e.target[i])
        near = sorted((c for c in range(4) if c != k), key=lambda c: abs(logits[i, c] - logits[i, k]).item())[:2]

        def score(features: Tensor, i: int = i, k: int = k, near: list[int] = near) -> float:
            y = e.head(features[None])[0]
            p = y.softmax(0)
            return (sum(p[d] * (y[k] - y[d]) for d in near) / sum(p[d] for d in near)).item()

        for channel in range(6):
            step = torch.zeros_like(e.features[i])
            step[channel] = 1e-6
            slope = (score(e.features[i] + step) - score(e.features[i] - step)) / 2e-6 / 20
            assert found[i, channel].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_finer_needs_two_classes() -> None:
    e = Evidence(torch.ones(1, 2, 2, 2), GapLinear(2, 1), torch.tensor([0]))
    with pytest.raises(ValueError, match="this head has one"):
        made("finercam", e)


def test_smooth_grad_cam_pp_by_loops(given_network: Make) -> None:
    e = given_network("mlp", True)[1]["sigmoid"]
    found = made("smoothgradcam++", e)
    for i in range(3):
        powers = [torch.zeros_like(e.features[i]) for _ in range(3)]
        for sample in range(4):
            noise = normals(e.seeds[i], torch.tensor(sample), e.images[i].numel(), torch.float64)
            x = (e.images[i] + 0.3 * noise.view_as(e.images[i]))[None].requires_grad_()
            (g,) = torch.autograd.grad(e.head(e.backbone.features(x))[0, e.target[i]], x)
            powers = [p + g[0] ** n / 4 for n, p in enumerate(powers, 1)]
        for c in range(6):
            weight = 0.0
            for d1, d2, d3 in zip(*(p[c].flatten().tolist() for p in powers), strict=True):
                if d1 > 0:
                    weight += d1 * d2 / (2 * d2 + e.features[i, c].sum().item() * d3 + 1e-6)
            assert found[i, c].item() == pytest.approx(weight, rel=1e-9, abs=1e-12)


def test_noise_is_standard_normal_and_keyed() -> None:
    values = normals(torch.tensor([[1], [2]]), torch.arange(3), 20_000, torch.float64)
    assert values.shape == (2, 3, 20_000)
    flat = values.flatten(0, 1)
    assert flat.mean(1).abs().max() < 5 / np.sqrt(20_000)
    assert (flat.var(1) - 1).abs().max() < 5 * np.sqrt(2 / 20_000)
    assert (torch.corrcoef(flat) - torch.eye(6)).abs().max() < 5 / np.sqrt(20_000)
    kurtosis = flat.pow(4).mean(1)
    assert (kurtosis - 3).abs().max() < 5 * np.sqrt(96 / 20_000)
    assert torch.equal(normals(torch.tensor(2), torch.tensor(1), 7, torch.float64), values[1, 1, :7])
    assert uniforms(torch.tensor(3), torch.tensor(0), 1000).min() >= 0


@pytest.mark.parametrize("name", ["slim_vgg", "slim_resnet"])
def test_every_method_on_a_slim_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All heads: finite maps of the declared shape, equal when made again, the same whatever the batch."""
    for noisy in ("sscam", "smoothgrad"):
        monkeypatch.setattr(sys.modules[CAMS.get(noisy).fn.__module__], "SAMPLES", 2)
    monkeypatch.setattr(sys.modules[CAMS.get("ig").fn.__module__], "STEPS", 4)
    monkeypatch.setattr(sys.modules[CAMS.get("extremal").fn.__module__], "SCHEDULE", AreaSchedule(steps=3))
    monkeypatch.setattr(sys.modules[CAMS.get("opticam").fn.__module__], "STEPS", 3)
    torch.manual_seed(3)
    net = BACKBONES.get(name).build(None)
    net.heads["sigmoid"] = net.head().fresh(torch.Generator().manual_seed(4))
    net.freeze()
    images, target = torch.randn(2, 3, 48, 48), torch.tensor([1, 5])

    def evidence(rows: slice) -> dict[Branch, Evidence]:
        ids, x = ("a", "b")[rows], images[rows]
        return {
            b: Evidence(net.features(x), net.head(b), target[rows], ids, x, net) for b in ("softmax", "sigmoid")
        }  # fmt: skip

    with torch.no_grad():
        both, again, second = evidence(slice(0, 2)), evidence(slice(0, 2)), evidence(slice(1, 2))
        assert (both["softmax"].branch, both["sigmoid"].branch) == ("softmax", "sigmoid")
        for cam in CAMS.names():
            method = CAMS.get(cam)
            if supports(method, net) is not None:
                continue
            for head in (h for h in map(HEADS.get, HEADS.names()) if supports(method, net, h) is None):
                one, two, alone = (
                    score_map(method, e[head.branch], head, PROTOCOLS.get("wsoleval")) for e in (both, again, second)
                )
                side = 48 if cam == "rise" or ("input_gradients" in method.needs and cam != "opticam") else 3
                assert one.shape == ((2, 24, 24) if cam in ("layercam_fused", "zoomcam") else (2, side, side)), cam
                assert torch.isfinite(one).all(), cam
                assert torch.equal(one, two), cam
                scale = one[1:].abs().max().item()
                # Adam divides a gradient by its own size, so that the rounding of a vanishing one counts.
                loose = 30 if cam == "opticam" else 1
                torch.testing.assert_close(alone, one[1:], rtol=1e-3 * loose, atol=1e-4 * loose * scale + 1e-9)


def test_no_method_returns_nan(given_network: Make) -> None:
    """Features that are zero, constant, and huge."""
    network, evidence = given_network("mlp", True)
    for value in (0.0, 1.0, 1e12):
        features = torch.full((2, 6, 5, 4), value, dtype=torch.float64)
        e = Evidence(features, evidence["softmax"].head, torch.tensor([0, 1]), ("a", "b"), features, network)
        for cam in NEW:
            assert torch.isfinite(raw_map(CAMS.get(cam), e, clamp=False)).all(), f"{cam} of features {value:g}"


def test_costs_and_sources_are_stated() -> None:
    for cam in NEW:
        method = CAMS.get(cam)
        assert method.source
        assert method.expensive == (bool(method.needs & {"rescoring", "images"}))
        assert not method.control
    assert [c for c in CAMS.names() if CAMS.get(c).control] == CAMS.names()[-3:] == ["center", "random", "uniform"]


def test_weights_in_double_precision_give_the_map_of_single_ones() -> None:
    """They ended in torch's words on two kinds of numbers."""
    features = torch.rand(2, 3, 4, 5)
    weights = torch.randn(2, 3, 1, 1)
    assert torch.equal(combine(weights.double(), features, clamp=False), combine(weights, features, clamp=False))
