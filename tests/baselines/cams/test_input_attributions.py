"""Attributions through Captum: completeness and conservation, plain gradients by hand, refusals before a run."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from cambench.baselines.backbones.split import SplitNetwork, chain
from cambench.baselines.cams import identities
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.contracts import BACKBONES, Head
from cambench.baselines.heads.heads import GapLinear, MlpHead, ModuleHead
from cambench.baselines.probes.anatomy import anatomy

pytest.importorskip("captum")
NAMES = ("saliency", "smoothgrad", "ig", "deeplift", "lrp", "guided_backprop")
BRANCHES = ("softmax", "sigmoid")


def small(kind: str = "gap_linear", activation: type[nn.Module] = nn.ReLU, bias: bool = True) -> SplitNetwork:
    """Two convolutions with a pooling between them, float64; sizes that a gradient can be checked on by hand."""
    generator = torch.Generator().manual_seed(3)
    body = chain(
        [
            ("conv1", nn.Conv2d(3, 6, 3, padding=1, bias=bias)),
            ("act1", activation()),
            ("pool", nn.MaxPool2d(2)),
            ("conv2", nn.Conv2d(6, 5, 3, padding=1, bias=bias)),
            ("act2", activation()),
        ]
    )

    def head() -> Head:
        return GapLinear(5, 4, bias=bias) if kind == "gap_linear" else MlpHead(5, 4, hidden=(7,), pool=2)

    net = SplitNetwork("small", body, head(), "body.act2")
    net.heads["sigmoid"] = head()
    net = net.double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 2)
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = True
    net.freeze()
    return net


def evidence(net: SplitNetwork, branch: str, ids: tuple[str, ...] = ("a", "b")) -> Evidence:
    images = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(5), dtype=torch.float64)[: len(ids)]
    head = net.heads[branch]
    assert isinstance(head, Head)
    return Evidence(net.features(images), head, torch.tensor([1, 3])[: len(ids)], ids, images, net)


def logit(e: Evidence, images: Tensor) -> Tensor:
    return e.head(e.backbone.features(images)).gather(1, e.target[:, None])[:, 0]


@pytest.mark.parametrize("kind", ["gap_linear", "mlp"])
@pytest.mark.parametrize("branch", BRANCHES)
def test_completeness_of_deeplift_and_integrated_gradients(kind: str, branch: str) -> None:
    e = evidence(small(kind), branch)
    gained = logit(e, e.images) - logit(e, torch.zeros_like(e.images))
    torch.testing.assert_close(CAMS.get("deeplift").fn(e).sum((1, 2)), gained, rtol=1e-9, atol=1e-12)
    smooth = evidence(small(kind, nn.Softplus), branch)
    gained = logit(smooth, smooth.images) - logit(smooth, torch.zeros_like(smooth.images))
    # Max pooling leaves kinks on the path: the quadrature is good to a few thousandths, not to rounding.
    torch.testing.assert_close(CAMS.get("ig").fn(smooth).sum((1, 2)), gained, rtol=5e-3, atol=5e-3)


@pytest.mark.parametrize("branch", BRANCHES)
def test_deeplift_by_hand_where_pooling_follows_an_activation(branch: str) -> None:
    """The rescale rule layer by layer; zero padding and biases make activations of the baseline that vary."""
    net = small()
    layers = {n: net.body.get_submodule(n) for n in ("conv1", "act1", "conv2", "act2", "pool")}
    net.body = chain(layers.items())
    e = evidence(net, branch)
    before, after = [torch.stack((e.images, torch.zeros_like(e.images)))], []
    for layer in layers.values():
        # A copy: the activations of this network work in place.
        after.append(torch.stack([layer(x.clone()) for x in before[-1]]))
        before.append(after[-1])

    multiplier = e.constant_gradient
    assert multiplier is not None
    for layer, given, made in zip(reversed(layers.values()), before[-2::-1], after[::-1], strict=True):
        change, gained = given[0] - given[1], made[0] - made[1]
        if isinstance(layer, nn.Conv2d):
            multiplier = nn.functional.conv_transpose2d(multiplier, layer.weight, padding=1)
        elif isinstance(layer, nn.ReLU):
            multiplier = multiplier * torch.where(change == 0, 0, gained / change)
        else:
            shares = torch.zeros_like(change)
            for b, c, y, x in torch.cartesian_prod(*(torch.arange(n) for n in made.shape[1:])).tolist():
                # The cell of the larger of the two maxima takes the whole difference.
                which = int(made[0, b, c, y, x] < made[1, b, c, y, x])
                row, column = divmod(int(given[which, b, c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].argmax()), 2)
                place = (b, c, 2 * y + row, 2 * x + column)
                if gained[b, c, y, x]:
                    shares[place] = multiplier[b, c, y, x] * gained[b, c, y, x] / change[place]
            multiplier = shares
    found = CAMS.get("deeplift").fn(e)
    torch.testing.assert_close(found, (multiplier * e.images).sum(1).detach(), rtol=1e-9, atol=1e-12)
    gained = logit(e, e.images) - logit(e, torch.zeros_like(e.images))
    torch.testing.assert_close(found.sum((1, 2)), gained, rtol=1e-9, atol=1e-12)


def test_integrated_gradients_are_exact_where_the_network_is_smooth() -> None:
    net = small("gap_linear", nn.Tanh)
    net.body.pool = nn.AvgPool2d(2)
    e = evidence(net, "softmax")
    gained = logit(e, e.images) - logit(e, torch.zeros_like(e.images))
    torch.testing.assert_close(CAMS.get("ig").fn(e).sum((1, 2)), gained, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("branch", BRANCHES)
def test_relevance_is_conserved_without_biases(branch: str) -> None:
    e = evidence(small("gap_linear", bias=False), branch)
    found = CAMS.get("lrp").fn(e)
    torch.testing.assert_close(found.sum((1, 2)), logit(e, e.images), rtol=1e-5, atol=1e-7)
    # Without biases the ε-rule of a ReLU network is input times gradient (Shrikumar et al., 2016).
    images = e.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logit(e, images).sum(), images)
    torch.testing.assert_close(found, (images * gradient).sum(1).detach(), rtol=1e-4, atol=1e-6)


def test_relevance_passes_flatten_and_identity() -> None:
    net = small(bias=False)
    layers = (nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Identity(), nn.Linear(20, 7, bias=False), nn.ReLU())
    net.heads["softmax"] = ModuleHead(nn.Sequential(*layers, nn.Linear(7, 4, bias=False)).double(), 4, ("5",))
    net.freeze()
    assert supports(CAMS.get("lrp"), net.float()) is None
    e = evidence(net.double(), "softmax")
    torch.testing.assert_close(CAMS.get("lrp").fn(e).sum((1, 2)), logit(e, e.images), rtol=1e-5, atol=1e-7)


class Asking(nn.Module):
    """Asks a layer for its type in the forward pass, as HRNet does."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        assert isinstance(self.same, nn.Identity)
        return self.same(x)


def test_layers_keep_their_types_in_the_network_that_is_explained() -> None:
    net = small()
    net.body.pool = Asking()
    assert anatomy(net.float()).failure == ""
    assert CAMS.get("saliency").fn(evidence(net.double(), "softmax")).isfinite().all()


class Joined(nn.Module):
    """A tensor that a layer and a concatenation read, as in VoVNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(6, 6, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.act(self.conv(x))), 1)


def test_a_concatenation_is_refused_by_lrp_and_complete_in_deeplift() -> None:
    net = small()
    net.body.pool = nn.Sequential(Joined().double(), nn.Conv2d(12, 6, 1).double())
    reason = str(supports(CAMS.get("lrp"), net.float()))
    assert "computes cat outside its layers" in reason
    assert reason.endswith("nearest: deeplift")
    e = evidence(net.double(), "softmax")
    gained = logit(e, e.images) - logit(e, torch.zeros_like(e.images))
    torch.testing.assert_close(CAMS.get("deeplift").fn(e).sum((1, 2)).detach(), gained.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("branch", BRANCHES)
def test_gradients_by_hand(branch: str) -> None:
    e = evidence(small("mlp"), branch)
    images = e.images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(logit(e, images).sum(), images)
    torch.testing.assert_close(CAMS.get("saliency").fn(e), gradient.abs().amax(1))

    class Guided(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.relu()

        @staticmethod
        def backward(ctx, g):
            return g.clamp_min(0) * (ctx.saved_tensors[0] > 0)

    images = e.images.clone().requires_grad_()
    body, mlp = e.backbone.get_submodule("body"), e.head.get_submodule("mlp")
    x = Guided.apply(body.conv2(body.pool(Guided.apply(body.conv1(images)))))
    x = mlp[3](Guided.apply(mlp[0](e.head.get_submodule("pool")(x).flatten(1))))
    (gradient,) = torch.autograd.grad(x.gather(1, e.target[:, None]).sum(), images)
    torch.testing.assert_close(CAMS.get("guided_backprop").fn(e), gradient.abs().amax(1))


def test_smoothgrad_is_the_gradient_where_the_network_is_linear() -> None:
    net = small("gap_linear", nn.Identity)
    net.body.pool = nn.AvgPool2d(2)
    e = evidence(net, "softmax")
    torch.testing.assert_close(CAMS.get("smoothgrad").fn(e), CAMS.get("saliency").fn(e))


@pytest.mark.parametrize("name", NAMES)
def test_maps_depend_on_no_other_image_and_leave_the_network_alone(name: str) -> None:
    net = small("mlp")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # The engine calls methods without autograd.
        with torch.no_grad():
            both, again = (CAMS.get(name).fn(evidence(net, "softmax")) for _ in range(2))
            alone = CAMS.get(name).fn(evidence(net, "softmax", ("a",)))
    assert both.shape == (2, 12, 12)
    assert both.isfinite().all()
    assert not both.requires_grad
    assert torch.equal(both, again)
    torch.testing.assert_close(both[:1], alone, rtol=1e-9, atol=1e-12)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._backward_hooks for m in net.modules())


@pytest.mark.parametrize(
    ("network", "method", "words", "nearest"),
    [
        ("slim_resnet", "lrp", "add", "ig"),
        ("slim_resnet", "deeplift", "overlapping", "ig"),
        ("resnet50", "deeplift", "more than once", "ig"),
        ("inception_v3", "guided_backprop", "relu outside its layers", "saliency"),
        ("efficientnet_lite0", "lrp", "ReLU6", "ig"),
    ],
)
def test_a_network_that_cannot_be_followed_is_refused(network: str, method: str, words: str, nearest: str) -> None:
    reason = supports(CAMS.get(method), BACKBONES.get(network).build(None).freeze())
    assert reason is not None
    assert words in reason
    assert reason.endswith(f"nearest: {nearest}")


def test_without_the_package_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    net = BACKBONES.get("slim_vgg").build(None).freeze()
    assert all(supports(CAMS.get(name), net) is None for name in NAMES)
    monkeypatch.setattr(identities, "find_spec", lambda name: None)
    for name in NAMES:
        assert "pip install 'cambench[captum]'" in str(supports(CAMS.get(name), net))
        assert "nearest: cam" in str(supports(CAMS.get(name), BACKBONES.get("slim_vgg_gap").build(None).freeze()))


def test_the_anatomy_of_a_network() -> None:
    found = anatomy(small("mlp").float())
    assert [n for n in found.layers if n.startswith("body")] == [
        f"body.body.{n}" for n in ("conv1", "act1", "pool", "conv2", "act2")
    ]
    assert (found.functional, found.reused, found.failure) == (frozenset(), frozenset(), "")
