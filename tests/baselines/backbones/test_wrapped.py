"""Networks of the user's own: the same logits, heads recognised, in-place heads harmless, clear refusals."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import cambench
from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.backbones.timm.layout import UnsupportedNetworkError
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import raw_map
from cambench.baselines.contracts import BACKBONES
from cambench.plugins import load_plugin
from cambench.registry import RegistryError

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def trunk() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 6, 3, stride=16, padding=1), nn.BatchNorm2d(6), nn.Conv2d(6, 8, 1))


def gap_head() -> nn.Sequential:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 5))


class Whole(nn.Module):
    """A network whose two halves are methods, with activations in place on both sides of the cut."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.act, self.fc = trunk(), nn.ReLU(inplace=True), nn.Linear(8, 5)

    def extract(self, images: Tensor) -> Tensor:
        return self.body(images)

    def classify(self, features: Tensor) -> Tensor:
        return self.fc(self.act(features).amax((-2, -1)))

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.extract(images))


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """Names registered here are taken back."""
    yield
    for name in [n for n in BACKBONES._entries if n.startswith("mine")]:
        BACKBONES._entries.pop(name), BACKBONES._origin.pop(name)


def test_gap_and_linear_is_recognised() -> None:
    body, head = trunk().eval(), gap_head().eval()
    net = cambench.wrap(name="mine", features=body, head=head, class_names=list("abcde"), **HALF)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(net(images), head(body(images)), rtol=1e-5, atol=1e-5)
    assert (net.head_kind, net.num_classes, net.class_names) == ("gap_linear", 5, tuple("abcde"))
    assert supports(CAMS.get("cam"), net) is None
    weights = net.head().class_weights(torch.tensor([3]))
    assert weights is not None
    assert torch.equal(weights[0], head[-1].weight[3])
    assert not net.nonnegative
    torch.testing.assert_close(net.normalise(torch.zeros(1, 3, 1, 1)), -torch.ones(1, 3, 1, 1))
    body[0].weight.data.zero_()
    assert net.body[0].weight.abs().max() > 0, "the wrapped network is a copy"


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), nn.LogSoftmax(1)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 5)),
    ],
)
def test_other_heads_are_not_taken_for_gap_and_linear(head: nn.Module) -> None:
    net = cambench.wrap(name="mine", features=trunk(), head=head, **HALF)
    assert net.head_kind == "other"
    reason = supports(CAMS.get("cam"), net)
    assert reason is not None
    assert "needs a GAP + linear head, and mine has another kind of head; nearest: gradcam" in reason


def test_a_1x1_convolution_before_the_average_is_gap_and_linear() -> None:
    head = nn.Sequential(nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert cambench.wrap(name="mine", features=trunk(), head=head, **HALF).head_kind == "gap_linear"


class FunctionalInPlace(nn.Module):
    """In place without a module that says so."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 5)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc(features.relu_().amax((-2, -1)))


@pytest.mark.parametrize("kind", ["module", "method", "function"])
def test_heads_that_work_in_place_leave_the_features_alone(kind: str) -> None:
    torch.manual_seed(1)
    whole = Whole().eval()
    if kind == "method":
        net = cambench.wrap(name="mine", features=whole.extract, head=whole.classify, **HALF)
        assert whole.act.inplace, "the user's own network is as it was"
    elif kind == "module":
        head: nn.Module = nn.Sequential(whole.act, nn.AdaptiveMaxPool2d(1), nn.Flatten(), whole.fc)
        net = cambench.wrap(name="mine", features=whole.body, head=head, **HALF)
    else:
        head = FunctionalInPlace()
        head.fc = whole.fc
        net = cambench.wrap(name="mine", features=whole.body, head=head, **HALF)
    images, target = torch.randn(2, 3, 64, 64), torch.tensor([0, 4])
    with torch.no_grad():
        features = net.features(images)
        expected = whole(images)
    assert bool((features < 0).any()), "the cut is before the activation"
    kept = features.clone()
    evidence = Evidence(features, net.head(), target, ("a", "b"), images, net)
    torch.testing.assert_close(evidence.logits, expected)
    # Reference: the same head out of place, by autograd.
    leaf = kept.clone().requires_grad_()
    whole.fc(leaf.relu().amax((-2, -1))).gather(1, target[:, None]).sum().backward()
    torch.testing.assert_close(evidence.gradients, leaf.grad)
    for cam in ("gradcam", "layercam", "shapleycam", "ablationcam"):
        assert torch.isfinite(raw_map(CAMS.get(cam), evidence, clamp=False)).all()
    assert torch.equal(features, kept)
    assert torch.equal(evidence.features, kept)


class Overwriting(nn.Module):
    """Changes the output of its activation in place; ``functional`` without a layer that could be named."""

    def __init__(self, first: nn.Module, act: nn.Module | None, last: nn.Module, pooled: bool) -> None:
        super().__init__()
        self.first, self.act, self.last, self.pooled = first, act, last, pooled

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.amax((-2, -1)) if self.pooled else x)
        x = self.act(x) if self.act is not None else x.sigmoid()
        x *= 2
        return self.last(x)


@pytest.mark.parametrize(
    ("act", "named"),
    [(nn.ReLU(), r"act \(ReLU\)"), (nn.Tanh(), r"act \(Tanh\)"), (None, "a Sigmoid"), (nn.Identity(), "")],
)
def test_a_head_that_overwrites_what_its_gradient_needs_is_refused(act: nn.Module | None, named: str) -> None:
    head = Overwriting(nn.Linear(8, 6), act, nn.Linear(6, 5), pooled=True)
    if named:
        for given in (head, head.forward):
            with pytest.raises(
                UnsupportedNetworkError, match=f"overwrites the output of {named}.* in place.*x = x \\+ y"
            ):
                cambench.wrap(name="mine", features=trunk(), head=given, **HALF)
        return
    net = cambench.wrap(name="mine", features=trunk(), head=head, **HALF)
    evidence = Evidence(torch.randn(2, 8, 4, 4), net.head(), torch.tensor([0, 4]), ("a", "b"))
    assert torch.isfinite(raw_map(CAMS.get("gradcam"), evidence, clamp=False)).all(), "in place, and harmless"


def test_a_body_that_overwrites_what_its_gradient_needs_does_for_methods_without_that_gradient() -> None:
    body = Overwriting(nn.Conv2d(3, 6, 3, stride=16, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 1), pooled=False)
    net = cambench.wrap(name="mine", features=body, head=gap_head(), **HALF)
    assert supports(CAMS.get("gradcam"), net) is None
    for cam in ("extremal", "saliency"):
        if CAMS.get(cam).requires and find_spec(CAMS.get(cam).requires) is None:
            continue
        reason = supports(CAMS.get(cam), net) or ""
        assert f"{cam} needs gradients through the network, and mine overwrites the output of body.act (ReLU)" in reason
        assert "nearest: cam" in reason
    body.act = nn.Identity()
    assert supports(CAMS.get("extremal"), cambench.wrap(name="mine", features=body, head=gap_head(), **HALF)) is None


def test_a_body_that_changes_its_images_is_given_a_copy() -> None:
    """Methods that mask or re-score read the same images after it."""

    class Shifting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = trunk()

        def forward(self, x: Tensor) -> Tensor:
            x -= 1
            return self.body(x)

    body = Shifting().eval()
    images = torch.randn(2, 3, 64, 64)
    expected = body(images.clone())
    net, kept = cambench.wrap(name="mine", features=body, head=gap_head(), **HALF), images.clone()
    for _ in range(2):
        torch.testing.assert_close(net.features(images), expected)
        assert torch.equal(images, kept)


def test_a_plain_function_names_its_network() -> None:
    whole = Whole().eval()
    with pytest.raises(UnsupportedNetworkError, match=r"mine .*features is a plain function.*model=…"):
        cambench.wrap(name="mine", features=lambda x: whole.extract(x), head=whole.classify, **HALF)
    net = cambench.wrap(
        name="mine", features=lambda x: whole.extract(x), head=lambda f: whole.classify(f), model=whole, **HALF
    )
    images = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(net(images), whole(images))
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in whole.parameters())
    assert all(p.requires_grad for p in whole.parameters()), "the user's own network is as it was"
    whole.fc.weight.data.zero_()
    assert net(images).std() > 0, "the function calls the copy"


def test_images_are_resized_to_the_networks_size() -> None:
    class Fixed(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if images.shape[-2:] != (96, 96):
                raise ValueError("only 96×96")
            return images.unfold(2, 12, 12).unfold(3, 12, 12).mean((-2, -1)).repeat(1, 3, 1, 1)[:, :8]

    with pytest.raises(UnsupportedNetworkError, match=r"only 96×96\); give input_size"):
        cambench.wrap(name="mine", features=Fixed(), head=gap_head(), **HALF)
    net = cambench.wrap(name="mine", features=Fixed(), head=gap_head(), input_size=96, **HALF)
    assert net.features(torch.randn(2, 3, 224, 224)).shape == (2, 8, 8, 8)
    torch.testing.assert_close(net.features(torch.ones(1, 3, 224, 224)), torch.ones(1, 8, 8, 8))


class Broken(nn.Module):
    def __init__(self, out: object) -> None:
        super().__init__()
        self.out = out

    def forward(self, x: Tensor) -> object:
        return self.out(x) if callable(self.out) else self.out


@pytest.mark.parametrize(
    ("features", "head", "options", "message"),
    [
        (Broken(lambda x: x.mean((-2, -1))), gap_head(), {}, r"features returns shape \(2, 3\).*expected \(2,N,P,Q\)"),
        (Broken([]), gap_head(), {}, "features returns a list, expected a tensor"),
        (trunk(), nn.Linear(8, 5), {}, r"head returns \(2, 8, 14, 5\)|head fails on features of shape"),
        (trunk(), Broken(lambda f: f.mean()), {}, r"head returns \(\) .*expected \(2,C\)"),
        (trunk(), gap_head(), {"class_names": ("a", "b")}, "2 class names for 5 logits"),
        (
            trunk(),
            gap_head(),
            {"mean": (0.5,)},
            "mean has 1 values, one for each channel, and it takes images of 3 channels",
        ),
        (trunk(), gap_head(), {"name": "a/b"}, "a name in triples holds no '/'"),
    ],
)
def test_parts_that_do_not_fit(features: nn.Module, head: nn.Module, options: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedNetworkError, match=message):
        cambench.wrap(**{"name": "mine", "features": features, "head": head, **HALF, **options})  # type: ignore[arg-type]


def test_names_of_built_in_networks_are_taken() -> None:
    with pytest.raises(RegistryError, match="'resnet50' of .* is already registered"):
        cambench.wrap(name="resnet50", features=trunk(), head=gap_head(), **HALF)


def test_opened_by_name_with_its_own_weights_and_other_classes() -> None:
    net = cambench.wrap(name="mine", features=trunk(), head=gap_head(), **HALF)
    opened = open_backbone("mine")
    assert (opened.needs_training, opened.weights_source) == (False, "given to cambench.wrap")
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(opened(images), net(images))
    opened.heads["sigmoid"] = opened.head().fresh()
    assert "sigmoid" not in open_backbone("mine").heads, "a run's branches stay in that run"
    other = open_backbone("mine", num_classes=3)
    assert (other(images).shape, other.needs_training) == ((2, 3), True)
    assert copy.deepcopy(net)(images).shape == (2, 5)


def test_wrapped_in_a_plugin_file(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "import cambench, torch\n"
        "from torch import nn\n"
        "cambench.wrap(name='mine_plugin', features=nn.Conv2d(3, 8, 3, stride=16),\n"
        "    head=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)),\n"
        "    mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))\n"
    )
    load_plugin(file)
    assert open_backbone("mine_plugin").head_kind == "gap_linear"


@pytest.mark.parametrize("part", ["features", "head"])
def test_values_that_are_not_finite_are_said(part: str) -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - 1e9).sqrt()

    parts = {"features": nn.Conv2d(3, 8, 3), "head": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())}
    parts[part] = nn.Sequential(parts[part], Root())
    with pytest.raises(UnsupportedNetworkError, match=f"nan is not supported: {part} makes .* not finite"):
        cambench.wrap(name="nan", **parts, mean=(0.5,) * 3, std=(0.2,) * 3)
