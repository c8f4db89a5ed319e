"""FullGrad, fused Layer-CAM, Zoom-CAM: complete, by a second computation, refused where there is nothing to read."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.backbones.split import SplitNetwork, chain
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.gradient.full_grad import decomposition
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.contracts import BACKBONES, Head
from cambench.baselines.heads.heads import GapLinear, MlpHead
from cambench.baselines.probes.explained import explained
from cambench.baselines.probes.stages import stage_layers


class Residual(nn.Module):
    """A block that adds in place and calls one activation twice, as torchvision's do."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.conv, self.bn, self.act = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), activation

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn(self.conv(self.act(x)))
        out += x
        return self.act(out)


def deep(activation: nn.Module, kind: str) -> SplitNetwork:
    """Convolutions with bias, batch normalisation, a residual block, two poolings; float64, random everything."""
    first, last = copy.deepcopy(activation), copy.deepcopy(activation)
    body = chain(
        [
            ("stem", nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), first)),
            ("pool", nn.MaxPool2d(3, 2, 1)),
            ("block", Residual(activation)),
            ("pool2", nn.AvgPool2d(2)),
            ("last", nn.Sequential(nn.Conv2d(6, 5, 3, padding=1), last)),
        ]
    )

    def head() -> Head:
        return GapLinear(5, 4) if kind == "gap_linear" else MlpHead(5, 4, hidden=(7,), pool=2)

    net = SplitNetwork("deep", body, head(), "body.last")
    net.heads["sigmoid"] = head()
    generator = torch.Generator().manual_seed(9)
    net = net.double()
    with torch.no_grad():
        for name, tensor in (*net.named_parameters(), *net.named_buffers()):
            if tensor.is_floating_point() and name not in ("mean", "std"):
                draw = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
                tensor.copy_(draw.abs() + 0.5 if "running_var" in name else draw / 2)
    net.freeze()
    return net


def evidence(net: SplitNetwork, branch: str) -> Evidence:
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return Evidence(net.features(images), net.heads[branch], torch.tensor([1, 3]), ("a", "b"), images, net)


@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.ReLU6(), nn.SiLU(), nn.GELU()], ids=repr)
@pytest.mark.parametrize(("kind", "branch"), [("gap_linear", "softmax"), ("mlp", "sigmoid")])
def test_full_gradients_add_up_to_the_logit(activation: nn.Module, kind: str, branch: str) -> None:
    net = deep(activation, kind)
    e = evidence(net, branch)
    assert supports(CAMS.get("fullgrad"), net) is None
    with torch.no_grad():
        images, parts = decomposition(e)
        total = images.sum((1, 2, 3)) + sum(p.flatten(1).sum(1) for p in parts)
        torch.testing.assert_close(total, e.logits.gather(1, e.target[:, None])[:, 0], rtol=1e-11, atol=1e-12)
        found = CAMS.get("fullgrad").fn(e)
    assert found.shape == (2, 16, 16)
    assert found.min() >= 0
    assert not any(m._forward_hooks for m in net.modules())


def test_full_grad_by_hand() -> None:
    """One 1×1 convolution, ReLU, GAP + linear: ∂y/∂z = w/(P·Q) where z > 0."""
    net = SplitNetwork("one", chain([("conv", nn.Conv2d(3, 2, 1)), ("act", nn.ReLU())]), GapLinear(2, 2), "body.act")
    net = net.double()
    net.freeze()
    images = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    e = Evidence(net.features(images), net.head(), torch.tensor([1]), ("a",), images, net)
    conv, linear = net.body.conv, net.head().get_submodule("linear")
    z = F.conv2d(images, conv.weight, conv.bias)
    gradient = (z > 0) * linear.weight[1].view(1, 2, 1, 1) / 16
    bias = (gradient * conv.bias.view(1, 2, 1, 1)).abs()
    at_input = (images * F.conv_transpose2d(gradient, conv.weight)).abs()

    def psi(part: Tensor) -> Tensor:
        return ((part - part.min()) / (part.max() - part.min() + 1e-6)).sum(1)

    torch.testing.assert_close(CAMS.get("fullgrad").fn(e), (psi(at_input) + psi(bias)).detach())


@pytest.mark.parametrize("branch", ["softmax", "sigmoid"])
def test_fused_layer_cam_and_zoom_cam_by_a_second_computation(branch: str) -> None:
    net = deep(nn.ReLU(), "mlp")
    e = evidence(net, branch)
    assert stage_layers(net) == ("body.stem.2", "body.block")
    with torch.no_grad():
        found, zoom = (CAMS.get(name).fn(e) for name in ("layercam_fused", "zoomcam"))
    body = net.body
    stem = body.stem(e.images).detach().requires_grad_()
    block = body.block(body.pool(stem))
    last = body.last(body.pool2(block))
    score = net.heads[branch](last).gather(1, e.target[:, None]).sum()
    layers = (stem, block, last)
    maps, zoomed = [], []
    for layer, gradient in zip(layers, torch.autograd.grad(score, layers), strict=True):
        for weights, found_maps in ((gradient.relu(), maps), (gradient, zoomed)):
            one = (weights * layer.detach()).sum(1).relu()
            one = one / one.amax((1, 2), keepdim=True)
            found_maps.append(F.interpolate(one[:, None], size=(16, 16), mode="bilinear")[:, 0])
    torch.testing.assert_close(zoom, torch.stack(zoomed).amax(0).detach())
    expected = torch.maximum(torch.maximum(torch.tanh(2 * maps[0]), torch.tanh(2 * maps[1])), maps[2])
    torch.testing.assert_close(found, expected.detach())


@pytest.mark.parametrize(
    ("network", "method", "words"),
    [("timm:test_efficientnet", "fullgrad", "mul outside its layers, where no rule applies; nearest: layercam_fused")],
)
def test_refusals(network: str, method: str, words: str) -> None:
    assert words in str(supports(CAMS.get(method), open_backbone(network, pretrained=False)))


def test_full_gradients_of_timms_padded_convolutions() -> None:
    net = open_backbone("efficientnet_lite0", num_classes=5, pretrained=False)
    assert supports(CAMS.get("fullgrad"), net) is None
    net = net.double()
    for number, module in enumerate(net.modules()):
        if isinstance(module, nn.BatchNorm2d):
            generator = torch.Generator().manual_seed(number)
            module.bias.copy_(torch.randn(module.bias.shape, generator=generator))
            module.running_mean.normal_(generator=generator)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    with torch.no_grad():
        e = Evidence(net.features(images), net.head(), torch.tensor([3]), ("a",), images, net)
        at_input, parts = decomposition(e)
        total = at_input.sum() + sum(p.sum() for p in parts)
        torch.testing.assert_close(total, e.logits[0, 3], rtol=1e-9, atol=1e-10)


def test_stages_of_a_network_of_timm() -> None:
    assert len(stage_layers(BACKBONES.get("efficientnet_lite0").build(None).freeze())) == 4


def test_stages_that_make_several_tensors_are_left_out() -> None:
    """HRNet's stages return lists: nothing is read there, and nothing fails."""

    class Several(nn.Module):
        def forward(self, x: Tensor) -> list[Tensor]:
            return [x, x]

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.several = Several()

        def forward(self, x: Tensor) -> Tensor:
            return self.several(x)[0]

    net = deep(nn.ReLU(), "gap_linear").float()
    net.body.pool = nn.Sequential(First(), nn.MaxPool2d(2))
    net.stages = ("body.stem.2", "body.pool.0.several", "body.block")
    assert stage_layers(net) == ("body.stem.2", "body.block")


def test_timms_normalisation_with_activation_is_two_layers() -> None:
    from timm.layers import BatchNormAct2d

    net = deep(nn.ReLU(), "gap_linear").float()
    norm = BatchNormAct2d(6)
    norm.running_mean.normal_(generator=torch.Generator().manual_seed(1))
    norm.running_var.uniform_(0.5, 2, generator=torch.Generator().manual_seed(2))
    norm.bias.data.normal_(generator=torch.Generator().manual_seed(3))
    net.body.pool = nn.Sequential(norm, nn.MaxPool2d(3, 2, 1))
    assert supports(CAMS.get("fullgrad"), net.freeze()) is None
    e = evidence(net.double(), "softmax")
    assert torch.equal(explained(net, net.head())(e.images), e.logits)
    images, parts = decomposition(e)
    total = images.sum((1, 2, 3)) + sum(p.flatten(1).sum(1) for p in parts)
    torch.testing.assert_close(total, e.logits.gather(1, e.target[:, None])[:, 0], rtol=1e-11, atol=1e-12)
    assert type(net.body.pool[0]) is BatchNormAct2d, "the network itself stays as it is"
