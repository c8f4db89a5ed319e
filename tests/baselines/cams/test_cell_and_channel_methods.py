"""FEM, KPCA-CAM, BagCAMs, Recipro-CAM, Opti-CAM and LIFT-CAM: each against a second computation in float64."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import canonical, supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import raw_map
from cambench.baselines.contracts import BACKBONES, HEADS
from cambench.baselines.heads.heads import GapLinear
from cambench.bench.engine.planning.triples import expand_patterns
from cambench.protocol import PAPER

Make = Callable[..., Any]
LATER = ("bagcams", "fem", "kpcacam", "legrad", "liftcam", "opticam", "reciprocam", "transformer_attribution")


def made(name: str, e: Evidence) -> torch.Tensor:
    return CAMS.get(name).fn(e)


def test_a_glob_selects_what_it_selected_before() -> None:
    found = {wanted.triple.cam for wanted in expand_patterns(["slim_resnet/*/*"])}
    assert not found & {*LATER, "vit_reciprocam", "zoomcam"}
    assert {w.triple.cam for w in expand_patterns([f"slim_resnet/{{{','.join(LATER)}}}/softmax"])} == set(LATER)


def test_fem_by_loops(given_network: Make) -> None:
    e = given_network("mlp", False)[1]["softmax"]
    found = made("fem", e)
    for i, channels in enumerate(e.features.numpy()):
        expected = np.zeros((5, 4))
        for channel in channels:
            expected += channel.mean() * (channel > channel.mean() + 2 * np.std(channel))
        np.testing.assert_allclose(found[i], expected, rtol=1e-12, atol=1e-13)
    assert found.abs().max() > 0


def test_kpca_equals_scikit_learn(given_network: Make) -> None:
    from sklearn.decomposition import KernelPCA

    e = given_network("mlp", False)[1]["softmax"]
    features = e.features / 20
    found = made("kpcacam", Evidence(features, e.head, e.target, e.image_ids))
    for i, channels in enumerate(features.numpy()):
        cells = channels.reshape(6, -1).T
        expected = KernelPCA(n_components=1, kernel="sigmoid").fit_transform(cells - cells.mean(0))[:, 0]
        expected *= np.sign(expected[np.abs(expected).argmax()])
        np.testing.assert_allclose(found[i].flatten(), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("nonnegative", [True, False])
@pytest.mark.parametrize("branch", ["softmax", "sigmoid"])
def test_bag_cams_by_loops(given_network: Make, nonnegative: bool, branch: str) -> None:
    network, evidence = given_network("mlp", nonnegative)
    e = evidence[branch]
    found = raw_map(CAMS.get("bagcams"), e, clamp=False)
    for i in range(3):
        leaf = e.features[i : i + 1].clone().requires_grad_()
        y = e.head(leaf)[0, e.target[i]]
        (gradient,) = torch.autograd.grad(y, leaf)
        expected = torch.zeros(5, 4, dtype=torch.float64)
        for channel in range(6):
            product = (gradient[0, channel] * leaf[0, channel] / y.abs()).detach()
            expected += ((product.mean() + 1) * product).relu()
        torch.testing.assert_close(found[i], expected, rtol=1e-10, atol=1e-12)
    if nonnegative:
        assert (made("bagcams", e) >= 0).all()
        keys = {canonical(CAMS.get("bagcams"), HEADS.get(h), network, PAPER) for h in ("softmax", "softmax_clamped")}
        assert len(keys) == 1, "the clamp changes nothing"


@pytest.mark.parametrize("branch", ["softmax", "sigmoid"])
@pytest.mark.parametrize("budget", [1, 2**20])
def test_recipro_by_loops(given_network: Make, branch: str, budget: int) -> None:
    e = given_network("mlp", True)[1][branch]
    e.chunk_bytes = budget
    found = made("reciprocam", e)
    for i in range(3):
        scores = np.zeros((5, 4))
        for p in range(5):
            for q in range(4):
                masked = torch.zeros_like(e.features[i])
                for y in range(max(0, p - 1), min(5, p + 2)):
                    for x in range(max(0, q - 1), min(4, q + 2)):
                        masked[:, y, x] = e.features[i, :, y, x] / 2 ** (2 + abs(y - p) + abs(x - q))
                logits = e.head(masked[None])[0].detach()
                activated = logits.softmax(0) if branch == "softmax" else logits.sigmoid()
                scores[p, q] = activated[e.target[i]]
        np.testing.assert_allclose(found[i], scores - scores.min(), rtol=1e-9, atol=1e-13)


def test_opti_cam_by_a_second_optimiser(given_network: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam by its formulas, one image at a time; more steps raise the logit of the masked image."""
    monkeypatch.setattr(sys.modules[CAMS.get("opticam").fn.__module__], "STEPS", 4)
    e = given_network("mlp", True)[1]["sigmoid"]

    def score(u: torch.Tensor, i: int) -> torch.Tensor:
        combined = torch.einsum("n,npq->pq", u.softmax(0), e.features[i])
        mask = (combined - combined.min()) / (combined.max() - combined.min())
        return e.head(e.images[i : i + 1] * mask)[0, e.target[i]]

    found = made("opticam", e)
    for i in range(3):
        u = torch.zeros(6, dtype=torch.float64)
        m, v = torch.zeros_like(u), torch.zeros_like(u)
        begun = score(u, i)
        for step in range(1, 5):
            leaf = u.clone().requires_grad_()
            (g,) = torch.autograd.grad(-score(leaf, i), leaf)
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            u = u - 0.1 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        torch.testing.assert_close(found[i].flatten(), u.softmax(0), rtol=1e-9, atol=1e-12)
        assert score(u, i) > begun
    torch.testing.assert_close(found.sum(1).flatten(), torch.ones(3).double())


def test_lift_cam_by_hand_on_an_mlp(given_network: Make) -> None:
    pytest.importorskip("captum")
    assert supports(CAMS.get("liftcam"), BACKBONES.get("slim_vgg").build(None).freeze()) is None
    evidence = given_network("mlp", True)[1]
    for e in evidence.values():
        found = made("liftcam", e)
        first, last = e.head.mlp[0], e.head.mlp[3]
        for i in range(3):
            pooled = F.adaptive_avg_pool2d(e.features[i], 2).flatten()
            at, base = first.weight @ pooled + first.bias, first.bias
            multiplier = (at.relu() - base.relu()) / (at - base) * last.weight[e.target[i]]
            shares = (pooled * (first.weight.T @ multiplier)).view(6, 4).sum(1)
            torch.testing.assert_close(found[i].flatten(), shares.detach(), rtol=1e-9, atol=1e-11)
        change = (e.logits - e.head(torch.zeros_like(e.features))).gather(1, e.target[:, None])
        torch.testing.assert_close(found.sum(1).flatten(), change.flatten().detach(), rtol=1e-9, atol=1e-10)


def test_lift_cam_is_the_shapley_value_and_ablation_cam_on_gap_linear(given_network: Make) -> None:
    """Marginal contributions of a channel are the same in every order: the head is linear."""
    pytest.importorskip("captum")
    network, evidence = given_network("gap_linear", False)
    for branch, e in evidence.items():
        found = made("liftcam", e)
        torch.testing.assert_close(found, made("ablationcam", e))
        some = torch.zeros_like(e.features)
        some[:, ::2] = e.features[:, ::2]
        without = e.score_features(some)
        some[:, 3] = e.features[:, 3]
        torch.testing.assert_close(found[:, 3].flatten(), e.score_features(some) - without, rtol=1e-9, atol=1e-10)
        head = HEADS.get(branch)
        assert canonical(CAMS.get("liftcam"), head, network, PAPER) == canonical(
            CAMS.get("ablationcam"), head, network, PAPER
        )


def test_degenerate_features_give_finite_maps(given_network: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that are zero, constant, and huge; a logit of zero."""
    monkeypatch.setattr(sys.modules[CAMS.get("opticam").fn.__module__], "STEPS", 2)
    network, evidence = given_network("mlp", True)
    for value in (0.0, 1.0, 1e12):
        features = torch.full((2, 6, 5, 4), value, dtype=torch.float64)
        e = Evidence(features, evidence["softmax"].head, torch.tensor([0, 1]), ("a", "b"), features, network)
        for cam in ("bagcams", "fem", "kpcacam", "liftcam", "opticam", "reciprocam"):
            assert torch.isfinite(raw_map(CAMS.get(cam), e, clamp=False)).all(), f"{cam} of features {value:g}"
    e = Evidence(torch.zeros(1, 2, 2, 2), GapLinear(2, 2, bias=False), torch.tensor([0]), ("a",))
    assert not raw_map(CAMS.get("bagcams"), e, clamp=False).any()
