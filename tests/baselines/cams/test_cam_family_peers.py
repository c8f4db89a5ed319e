"""The CAM family beside pytorch-grad-cam and torch-cam on the same network and images: where definitions agree.

Known divergences, each tested on the part that agrees: pytorch-grad-cam centres channels in its eigen methods and
leaves their sign open, divides Ablation-CAM by the logit, and resizes Score-CAM's masks with aligned corners. torch-cam
normalises Score-CAM's masks before it resizes them, adds IS-CAM's factors up, and draws SS-CAM's noise unkeyed.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.gradient.eigen import first_component
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.rescoring import masking as _masking
from cambench.baselines.cams.score_map import raw_map
from cambench.baselines.contracts import BACKBONES, Backbone

pytestmark = pytest.mark.slow
CLASSES = [1, 7]


@pytest.fixture(scope="module", params=["slim_vgg", "slim_resnet"])
def case(request: pytest.FixtureRequest) -> tuple[Backbone, Tensor, Evidence]:
    torch.manual_seed(11)
    net = BACKBONES.get(request.param).build(None)
    images = torch.randn(2, 3, 64, 64)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.6
    with torch.no_grad():
        for _ in range(4):
            net(images)
        for parameter in net.head().parameters():
            parameter.mul_(4)
    net.freeze()
    e = Evidence(net.features(images), net.head(), torch.tensor(CLASSES), ("a", "b"), images, net)
    return net, images, e


def low_res(peer: str, net: Backbone, images: Tensor, target: str = "ClassifierOutputTarget") -> np.ndarray[Any, Any]:
    """pytorch-grad-cam's own signed map before its ReLU and scaling."""
    peers = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    found = []
    net = copy.deepcopy(net).requires_grad_(True)
    with getattr(peers, peer)(net, [net.get_submodule(net.feature_layer)]) as cam:
        original = cam.get_cam_image

        def keep(*args: Any, **kwargs: Any) -> Any:
            out = original(*args, **kwargs)
            found.append(out.detach().numpy() if isinstance(out, Tensor) else out)
            return out

        cam.get_cam_image = keep
        cam(images, [getattr(targets, target)(c) for c in CLASSES])
    assert found, "the peer made no map"
    return np.asarray(found[0])


def gap(ours: Tensor, theirs: Any) -> float:
    """Largest difference, relative to the largest value."""
    reference = np.asarray(theirs, dtype=np.float64)
    assert np.abs(reference).max() > 0
    return float(np.abs(ours.double().numpy() - reference).max() / np.abs(reference).max())


@pytest.mark.parametrize(
    ("name", "peer", "target"),
    [
        ("hirescam", "HiResCAM", "ClassifierOutputTarget"),
        ("shapleycam", "ShapleyCAM", "ClassifierOutputReST"),
    ],
)
def test_equal(case: tuple[Backbone, Tensor, Evidence], name: str, peer: str, target: str) -> None:
    net, images, e = case
    assert gap(raw_map(CAMS.get(name), e, clamp=False), low_res(peer, net, images, target)) < 1e-5


def test_ablation_cam_times_the_logit(case: tuple[Backbone, Tensor, Evidence]) -> None:
    net, images, e = case
    theirs = low_res("AblationCAM", net, images)
    logit = e.logits.gather(1, e.target[:, None]).numpy()[:, :, None]
    assert gap(raw_map(CAMS.get("ablationcam"), e, clamp=False), theirs * logit) < 1e-4


def test_eigen_methods_on_centred_channels(case: tuple[Backbone, Tensor, Evidence]) -> None:
    net, images, e = case
    for peer, channels in (("EigenCAM", e.features), ("EigenGradCAM", e.gradients * e.features)):
        theirs = low_res(peer, net, images)
        centred = channels - channels.mean((-2, -1), keepdim=True)
        ours = torch.einsum("bn,bnpq->bpq", first_component(centred), centred.double())
        for mine, other in zip(ours, theirs, strict=True):
            assert min(gap(mine, other), gap(-mine, other)) < 1e-4, peer


def test_finer_cam(case: tuple[Backbone, Tensor, Evidence]) -> None:
    """The peer explains the top class against the 2nd to 4th logit: so do we when the target is predicted."""
    peers = pytest.importorskip("pytorch_grad_cam")
    net, images, e = case
    top = Evidence(e.features, e.head, e.logits.argmax(1), e.image_ids, images, net)
    ours = raw_map(CAMS.get("finercam"), top, clamp=False).clamp_min(0)
    peer_net = copy.deepcopy(net).requires_grad_(True)
    found = peers.FinerCAM(peer_net, [peer_net.get_submodule(net.feature_layer)])(images)
    low = ours - ours.amin((1, 2), keepdim=True)
    low = low / (1e-7 + low.amax((1, 2), keepdim=True))
    up = F.interpolate(low[None], size=(64, 64), mode="bilinear", align_corners=False)[0]
    up = up - up.amin((1, 2), keepdim=True)
    assert gap(up / (1e-7 + up.amax((1, 2), keepdim=True)), found) < 1e-3


def test_score_cam_with_the_peers_masks(
    case: tuple[Backbone, Tensor, Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, images, e = case
    score = CAMS.get("scorecam")

    def aligned(features: Tensor, size: tuple[int, int]) -> Tensor:
        up = F.interpolate(features, size=size, mode="bilinear", align_corners=True)
        low, high = up.amin((-2, -1), keepdim=True), up.amax((-2, -1), keepdim=True)
        return (up - low) / (high - low + 1e-8)

    monkeypatch.setattr(_masking, "channel_masks", aligned)
    assert gap(raw_map(score, e, clamp=False), low_res("ScoreCAM", net, images)) < 1e-3

    torchcam = pytest.importorskip("torchcam.methods")

    def first(features: Tensor, size: tuple[int, int]) -> Tensor:
        low, high = features.amin((-2, -1), keepdim=True), features.amax((-2, -1), keepdim=True)
        scaled = torch.where(high > low, (features - low) / (high - low), 0)
        return F.interpolate(scaled, size=size, mode="bilinear", align_corners=False)

    monkeypatch.setattr(_masking, "channel_masks", first)
    cumulative = {j: (j + 1) * (j + 2) / 20 for j in range(10)}
    ours = {
        "ScoreCAM": score.fn(e),
        "ISCAM": _masking.channel_weights(e, 10, lambda m, _, j: m * cumulative[j]),
    }
    for peer, weights in ours.items():
        with getattr(torchcam, peer)(net, net.feature_layer, input_shape=(3, 64, 64)) as cam:
            net(images)
            (theirs,) = cam._get_weights(CLASSES)
        assert gap(weights[..., 0, 0], theirs.numpy()) < 2e-3, peer
