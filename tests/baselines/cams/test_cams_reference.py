"""Maps against pytorch-grad-cam on real networks, and against formulas written in NumPy."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import combine, raw_map
from cambench.baselines.contracts import BACKBONES, Backbone

Array = npt.NDArray[np.float64]
PEERS = {"gradcam": "GradCAM", "gradcam++": "GradCAMPlusPlus", "xgradcam": "XGradCAM", "layercam": "LayerCAM"}
NETWORKS = ("slim_vgg", "slim_vgg_gap", "slim_resnet", "slim_inception")


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(3, 3, 128, 128, generator=torch.Generator().manual_seed(5))


def network(name: str, settle: Callable[[nn.Module], None]) -> Backbone:
    torch.manual_seed(11)
    built = BACKBONES.get(name).build(None)
    settle(built)
    with torch.no_grad():
        for parameter in built.head("softmax").parameters():
            parameter.mul_(4)  # Contrast: float32 noise of a nearly flat map is amplified by its min-max.
    return built.freeze()


def peer_scale(maps: Tensor, size: int | None = None) -> Tensor:
    """pytorch-grad-cam's min-max (its ε) and bilinear resize."""
    maps = maps - maps.amin((-2, -1), keepdim=True)
    maps = maps / (1e-7 + maps.amax((-2, -1), keepdim=True))
    if size is None:
        return maps
    return F.interpolate(maps[None], size=(size, size), mode="bilinear", align_corners=False)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_equal_pytorch_grad_cam(name: str, images: Tensor, settle: Callable[[nn.Module], None]) -> None:
    peers = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    net = network(name, settle)
    peer_net = copy.deepcopy(net).requires_grad_(True)  # It differentiates from the loss down to every parameter.
    classes = [1, 7, 4]
    features = net.features(images)
    evidence = Evidence(features, net.head(), torch.tensor(classes))
    for cam, peer in PEERS.items():
        ours = peer_scale(peer_scale(raw_map(CAMS.get(cam), evidence, clamp=False).clamp_min(0), 128))
        with getattr(peers, peer)(peer_net, [peer_net.get_submodule(net.feature_layer)]) as theirs:
            expected = theirs(images, [targets.ClassifierOutputTarget(c) for c in classes])
        assert ours.amax() > 0.99, f"{cam}: nothing to compare"
        np.testing.assert_allclose(ours.numpy(), expected, atol=2e-5, rtol=0, err_msg=cam)


def numpy_weights(cam: str, f: Array, g: Array) -> Array:
    """The table of SEMANTICS §2, cell by cell of one image: F and G (N,P,Q) -> weights (N,P,Q)."""
    out = np.zeros_like(f)
    for i in range(len(f)):
        total, area = f[i].sum(), f[i].size
        if cam == "gradcam":
            out[i] = g[i].sum() / area
        elif cam == "xgradcam":
            out[i] = (g[i] * f[i]).sum() / (total + 1e-7)
        elif cam == "layercam":
            out[i] = np.maximum(g[i], 0)
        elif cam == "gradcam++":
            alpha = [v**2 / (2 * v**2 + total * v**3 + 1e-6) if v != 0 else 0.0 for v in g[i].ravel()]
            out[i] = sum(a * max(v, 0.0) for a, v in zip(alpha, g[i].ravel(), strict=True))
    return out


@pytest.mark.parametrize("clamp", [False, True])
@pytest.mark.parametrize("kind", ["gap_linear", "mlp"])
def test_maps_equal_numpy_in_float64(given_network: Callable[..., Any], kind: str, clamp: bool) -> None:
    evidence = given_network(kind, True)[1]["sigmoid"]
    leaf = evidence.features.clone().requires_grad_()
    evidence.head(leaf).gather(1, evidence.target[:, None]).sum().backward()
    for cam in PEERS:
        ours = raw_map(CAMS.get(cam), evidence, clamp=clamp).numpy()
        for i, (f, g) in enumerate(zip(evidence.features.numpy(), leaf.grad.numpy(), strict=True)):
            weights = numpy_weights(cam, f, g)
            expected = ((np.maximum(weights, 0) if clamp else weights) * f).sum(0)
            np.testing.assert_allclose(ours[i], expected, rtol=1e-11, atol=1e-12, err_msg=cam)


def test_cam_by_hand() -> None:
    features = torch.tensor([[[[1.0, 2], [3, 4]], [[4, 0], [0, 2]]]])
    weights = torch.tensor([[[[2.0]], [[-1.0]]]])
    assert combine(weights, features, clamp=False).tolist() == [[[-2, 4], [6, 6]]]
    assert combine(weights, features, clamp=True).tolist() == [[[2, 4], [6, 8]]]


def test_gradcam_pp_is_zero_where_the_gradient_is_zero(given_network: Callable[..., Any]) -> None:
    evidence = given_network("mlp", True)[1]["softmax"]
    evidence.__dict__["gradients"] = torch.zeros_like(evidence.features)
    assert torch.equal(CAMS.get("gradcam++").fn(evidence), torch.zeros(3, 6, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_is_near_float64(name: str, images: Tensor, settle: Callable[[nn.Module], None]) -> None:
    """The same features, head in float32 and float64: min-max maps differ by rounding only."""
    net = network(name, settle)
    features, target = net.features(images), torch.tensor([0, 5, 2])
    single = Evidence(features, net.head(), target)
    low = {c: raw_map(CAMS.get(c), single, clamp=False) for c in PEERS}
    double = Evidence(features.double(), net.head().double(), target)
    for cam in PEERS:
        ours, exact = (
            peer_scale(m.clamp_min(0).double()) for m in (low[cam], raw_map(CAMS.get(cam), double, clamp=False))
        )
        assert (ours - exact).abs().max() < 5e-6, cam


def test_methods_declare_what_they_read(given_network: Callable[..., Any]) -> None:
    """A method touches no gradient unless it says so (the engine skips the head's backward on that word)."""
    asked = runnable(given_network("gap_linear", True)[0])
    assert len(asked) > 20
    for cam in asked:
        method = CAMS.get(cam)
        evidence = given_network("gap_linear", True)[1]["softmax"]
        method.fn(evidence)
        assert ("gradients" in evidence.__dict__) == ("gradients" in method.needs), cam
        assert ("class_weights" in evidence.__dict__) == ("class_weights" in method.needs), cam


def test_maps_do_not_depend_on_the_batch(given_network: Callable[..., Any]) -> None:
    whole = given_network("mlp", True)[1]["softmax"]
    features, images = whole.features[1:2], whole.images[1:2]
    alone = Evidence(features, whole.head, whole.target[1:2], whole.image_ids[1:2], images, whole.backbone)
    for cam in runnable(whole.backbone):
        together = raw_map(CAMS.get(cam), whole, clamp=True)[1:2]
        torch.testing.assert_close(raw_map(CAMS.get(cam), alone, clamp=True), together, rtol=1e-12, atol=1e-14)


def runnable(network: Backbone) -> list[str]:
    """CAM methods that a run would take on this network."""
    return [name for name in CAMS.names() if supports(CAMS.get(name), network) is None]
