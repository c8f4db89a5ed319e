"""The paper's networks beside torchvision's own: same numbers, published shapes, closed-form gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from cambench.baselines.backbones.checkpoints import fill, translate
from cambench.baselines.backbones.inception import MIXED_5, STEM_A, STEM_B, GapDropoutLinear, Mixed6aStride1
from cambench.baselines.backbones.surgery import convolution
from cambench.baselines.backbones.vgg import convolutions, without_pool5
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.contracts import BACKBONES, Backbone

MAPS = {
    "vgg16": (512, 14, "mlp"),
    "vgg16_28": (512, 28, "mlp"),
    "vgg16_gap": (1024, 14, "gap_linear"),
    "vgg16_gap_28": (1024, 28, "gap_linear"),
    "resnet50": (2048, 14, "gap_linear"),
    "resnet50_28": (2048, 28, "gap_linear"),
    "inception_v3": (2048, 5, "gap_linear"),
    "inception_v3_gap": (1024, 14, "gap_linear"),
    "inception_v3_gap_28": (1024, 28, "gap_linear"),
}
CONVOLUTIONAL = [n for n in MAPS if MAPS[n][2] == "gap_linear"]


def images(side: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(5))


def filled(name: str, theirs: nn.Module, classes: int) -> Backbone:
    """Our network with the parameters of torchvision's."""
    net = BACKBONES.get(name).build(classes)
    ours, account = translate(net, theirs.state_dict(), "torchvision's network")
    assert not account.missing
    assert not account.unused
    fill(net, ours, account)
    return net.freeze()


@pytest.mark.parametrize("name", MAPS)
def test_published_shapes(name: str) -> None:
    channels, side, kind = MAPS[name]
    with torch.device("meta"):
        net = BACKBONES.get(name).build(200).freeze()
        features = net.features(torch.empty(2, 3, 224, 224))
        assert features.shape == (2, channels, side, side)
        assert net.head()(features).shape == (2, 200)
    assert (net.num_classes, net.head_kind, net.head().kind, net.nonnegative) == (200, kind, kind, True)
    assert net.name == name
    assert len(net.head().classifiers) == 1
    assert net.head().get_submodule(net.head().classifiers[0]).out_features == 200
    assert BACKBONES.get(name).native_classes == 1000


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_feature_layer_and_sign(name: str) -> None:
    torch.manual_seed(0)
    net = BACKBONES.get(name).build(7).freeze()
    seen: list[Tensor] = []
    net.get_submodule(net.feature_layer).register_forward_hook(lambda m, i, out: seen.append(out))
    features = net.features(images(96))
    assert torch.equal(features, seen[0]), "feature_layer names the module that makes the features"
    assert (features >= 0).all()
    assert (features > 0).any()
    logits = net(images(96))
    assert torch.allclose(logits, net.head()(features))
    assert torch.allclose(net.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    assert torch.allclose(net.std.flatten(), torch.tensor([0.229, 0.224, 0.225]))


@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_closed_form_gradients(name: str) -> None:
    torch.manual_seed(0)
    net = BACKBONES.get(name).build(7).freeze()
    features, target = net.features(images(96)), torch.tensor([3, 6])
    evidence = Evidence(features, net.head(), target)
    leaf = features.clone().requires_grad_()
    (expected,) = torch.autograd.grad(net.head()(leaf).gather(1, target[:, None]).sum(), leaf)
    torch.testing.assert_close(evidence.gradients, expected, rtol=1e-5, atol=1e-9)
    assert torch.equal(net.head().class_weights(target), net.head().linear.weight[target])
    # GAP then a linear layer, and the published 1×1 convolution then GAP, give the same logits.
    weight, bias = net.head().linear.weight[:, :, None, None], net.head().linear.bias
    pointwise = F.conv2d(features.double(), weight.double(), bias.double()).mean((-2, -1))
    torch.testing.assert_close(pointwise, net.head().double()(features.double()))


@pytest.mark.parametrize("name", ["vgg16_gap", "resnet50", "inception_v3"])
def test_fresh_heads(name: str) -> None:
    with torch.device("meta"):
        net = BACKBONES.get(name).build(7)
    head = type(net.head())(16, 7).fresh(torch.Generator().manual_seed(1), 5)
    again = type(net.head())(16, 7).fresh(torch.Generator().manual_seed(1), 5)
    assert type(head) is type(net.head())
    assert (head.num_classes, head.linear.weight.shape) == (5, (5, 16))
    assert torch.equal(head.linear.weight, again.linear.weight)
    assert (head.linear.bias == 0).all()


def test_resnet_equals_torchvision_at_its_own_stride(settle: Callable[[nn.Module], None]) -> None:
    torch.manual_seed(0)
    theirs = models.resnet50(weights=None, num_classes=10)
    settle(theirs)
    net = filled("resnet50", theirs, 10)
    with torch.no_grad():
        # Surgery only moves the stride: at stride 2 the networks are one.
        stage = net.get_submodule("body.layer4")
        for name in ("0.conv2", "0.downsample.0"):
            assert convolution(stage, name).stride == (1, 1)
            assert convolution(stage, name).dilation == (1, 1)
            convolution(stage, name).stride = (2, 2)
        torch.testing.assert_close(net(images(96)), theirs(images(96)), rtol=1e-5, atol=1e-5)
        for name in ("0.conv2", "0.downsample.0"):
            convolution(stage, name).stride = (1, 1)
        # Stride 2 after stride 1 is every other cell: the first block's output agrees there.
        below = theirs.layer3(
            theirs.layer2(theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images(96)))))))
        )
        fine, coarse = stage[0](below), theirs.layer4[0](below)
        torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=1e-5, atol=1e-5)


def test_native_inception_equals_torchvision(settle: Callable[[nn.Module], None]) -> None:
    torch.manual_seed(0)
    theirs = models.inception_v3(weights=None, num_classes=10, aux_logits=False, init_weights=False)
    settle(theirs)
    net = filled("inception_v3", theirs, 10)
    with torch.no_grad():
        torch.testing.assert_close(net(images(139)), theirs(images(139)), rtol=1e-5, atol=1e-5)
    head = net.head()
    assert isinstance(head, GapDropoutLinear)
    features = torch.ones(64, 2048, 2, 2)
    assert torch.equal(head(features)[0], head(features)[1])
    assert not torch.equal(head.train()(features)[0], head(features)[1]), "dropout while training"


def test_inception_surgery_against_its_definition() -> None:
    torch.manual_seed(0)
    theirs = models.inception_v3(weights=None, num_classes=1, aux_logits=False, init_weights=False).eval()
    net = BACKBONES.get("inception_v3_gap").build(5)
    ours, account = translate(net, theirs.state_dict(), "torchvision's network")
    fill(net, ours, account)
    net.freeze()
    body = net.body
    with torch.no_grad():
        x = images(224, 1)
        x = F.conv2d(x, theirs.Conv2d_1a_3x3.conv.weight, stride=2, padding=1)
        x = F.relu(theirs.Conv2d_1a_3x3.bn(x))
        x = theirs.Conv2d_2b_3x3(theirs.Conv2d_2a_3x3(x))
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        x = theirs.Conv2d_4a_3x3(theirs.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
        for name in MIXED_5:
            x = getattr(theirs, name)(x)
        assert x.shape[-2:] == (28, 28)
        mine = images(224, 1)
        for name in (*STEM_A, *STEM_B, *MIXED_5):
            mine = body.get_submodule(name)(mine)
        torch.testing.assert_close(mine, x, rtol=1e-5, atol=1e-5)
        # Stride 1 with padding: every other inner cell is what torchvision's stride 2 without padding computes.
        mixed = body.get_submodule("Mixed_6a")
        assert isinstance(mixed, Mixed6aStride1)
        coarse = theirs.Mixed_6a(x)
        fine = mixed(x)
        assert fine.shape == (1, 768, 28, 28)
        inner = fine[:, :384, 1:-1:2, 1:-1:2]
        torch.testing.assert_close(inner, coarse[:, :384], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fine[:, 480:, 1:-1:2, 1:-1:2], coarse[:, 480:])


def test_vgg_convolutions_equal_torchvision() -> None:
    torch.manual_seed(0)
    with torch.device("meta"):
        theirs = models.vgg16(weights=None, init_weights=False).features
    features = without_pool5(convolutions())
    assert [k for k, _ in theirs.state_dict().items()] == list(features.state_dict())
    assert len(theirs) == len(features) + 1
    theirs = theirs.to_empty(device="cpu")
    theirs.load_state_dict(features.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(nn.functional.max_pool2d(features(images(64)), 2), theirs(images(64)))


@pytest.fixture(scope="module")
def vgg_pair() -> tuple[nn.Module, Backbone]:
    """torchvision's VGG-16 and ours on the very same storage (its MLP is 500 MB)."""
    torch.manual_seed(0)
    net = BACKBONES.get("vgg16").build(10)
    with torch.device("meta"):
        theirs = models.vgg16(weights=None, num_classes=10, init_weights=False)
    shared = {**net.body.features.state_dict(prefix="features."), **net.head().mlp.state_dict(prefix="classifier.")}
    theirs.load_state_dict(shared, assign=True, strict=True)
    return theirs.eval(), net.freeze()


def test_vgg_equals_torchvision(vgg_pair: tuple[nn.Module, Backbone]) -> None:
    theirs, net = vgg_pair
    with torch.no_grad():
        # At 224 torchvision pools 14×14 to 7×7 by maximum (pool5), ours by average: the one difference of the paper.
        features = net.features(images(224, 1))
        pooled = F.max_pool2d(features, 2)
        torch.testing.assert_close(net.head()(pooled), theirs(images(224, 1)), rtol=1e-5, atol=1e-5)
        expected = theirs.classifier(F.avg_pool2d(features, 2).flatten(1))
        torch.testing.assert_close(net(images(224, 1)), expected, rtol=1e-5, atol=1e-5)
    assert (features >= 0).all()
    assert net.head().class_weights(torch.tensor([0])) is None


def test_vgg_closed_form_gradient(vgg_pair: tuple[nn.Module, Backbone]) -> None:
    theirs, net = vgg_pair
    features, target = net.features(images(224, 1)), torch.tensor([4])
    gradient = Evidence(features, net.head(), target).gradients
    with torch.no_grad():
        # The MLP is linear where its ReLUs keep their sign: row · mask · matrix, back to the pooled map, each of
        # whose cells is the mean of four.
        first, second, last = (theirs.classifier[i] for i in (0, 3, 6))
        hidden = first(F.avg_pool2d(features, 2).flatten(1))
        deeper = second(hidden.relu())
        row = (last.weight[target] * (deeper > 0)) @ second.weight
        row = (row * (hidden > 0)) @ first.weight
        expected = F.interpolate(row.view(1, 512, 7, 7) / 4, scale_factor=2, mode="nearest")
    assert expected.abs().max() > 0
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
