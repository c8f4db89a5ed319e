"""Whole networks as they are: read by hooks, against autograd by hand; the user's own network stays as it was."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import cambench
from cambench.baselines.backbones import backbone_of, features_digest
from cambench.baselines.backbones.timm.layout import UnsupportedNetworkError
from cambench.baselines.cams import CAMS, Evidence, raw_map, supports
from cambench.baselines.contracts import BACKBONES, Backbone

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.fixture(autouse=True)
def no_traces() -> Iterator[None]:
    """Names registered here are taken back."""
    before = set(BACKBONES._entries)
    yield
    for name in set(BACKBONES._entries) - before:
        BACKBONES._entries.pop(name), BACKBONES._origin.pop(name)


class Small(nn.Module):
    """Two convolutions, functional activations and pooling, one linear layer."""

    def __init__(self, classes: int = 5, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(channels, 6, 3, stride=16, padding=1), nn.BatchNorm2d(6)
        self.body, self.fc = nn.Conv2d(6, 8, 1), nn.Linear(8, classes)
        nn.init.normal_(self.fc.weight)

    def maps(self, x: Tensor) -> Tensor:
        return F.relu(self.body(F.relu(self.norm(self.stem(x)))))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.maps(x).mean((-2, -1)))


def evidence(net: Backbone, images: Tensor) -> Evidence:
    with torch.no_grad():
        features = net.features(images)
    ids = [str(i) for i in range(len(images))]
    return Evidence(features, net.head(), torch.arange(len(images)), ids, images, net)


def pictures(count: int = 2, channels: int = 3, size: int = 64) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(7))


def by_hand(model: nn.Module, layer: str, images: Tensor, pick: Callable[[Any], Tensor]) -> tuple[Tensor, Tensor]:
    """The layer's output and the gradient of each image's own class there, by autograd."""
    kept: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda m, given, out: kept.append(out))
    logits = pick(model.eval()(images))
    hook.remove()
    chosen = logits.gather(1, torch.arange(len(images))[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, kept[-1])
    return kept[-1].detach(), gradient


def test_gap_and_linear_in_functions_is_recognised() -> None:
    class Named(Small):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def maps(self, x: Tensor) -> Tensor:
            return self.act(super().maps(x))

    model = Named()
    net = cambench.wrap(model=model, layer="act", **HALF)
    assert (net.name, net.head_kind, net.nonnegative, net.through_network) == ("Named", "gap_linear", True, False)
    found = evidence(net, pictures())
    features, gradient = by_hand(model, "act", pictures(), lambda out: out)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.gradients, gradient)
    assert supports(CAMS.get("cam"), net) is None
    assert net.body.net is not model


@dataclass
class Record:
    logits: Tensor
    attentions: tuple[Tensor, ...] = ()


class Pair(NamedTuple):
    logits: Tensor
    other: Tensor


OUTPUTS: dict[str, tuple[Callable[[Tensor], Any], Callable[[Any], Tensor] | None]] = {
    "tuple": (lambda y: (y, y * 2), None),
    "list": (lambda y: [y], None),
    "named tuple": (lambda y: Pair(y, y * 2), None),
    "mapping": (lambda y: {"hidden": y * 3, "logits": y}, None),
    "dataclass": (lambda y: Record(y), None),
    "one of several": (lambda y: {"a": y * 3, "b": y}, lambda out: out["b"]),
    "one value": (lambda y: y, None),
    "the logits of a convolution": (lambda y: y[:, :, None, None], None),
}


@pytest.mark.parametrize("kind", list(OUTPUTS))
def test_whatever_it_returns(kind: str) -> None:
    shape, pick = OUTPUTS[kind]

    class Returning(Small):
        def forward(self, x: Tensor) -> Any:
            return shape(super().forward(x))

    net = cambench.wrap(model=Returning(), layer="body", logits=pick, **HALF)
    torch.testing.assert_close(net(pictures()), Small().eval()(pictures()))
    assert not net.nonnegative
    assert net.head_kind == "other", "a ReLU stands behind the layer"


def test_an_output_without_logits_says_what_is_in_it() -> None:
    class Returning(Small):
        def forward(self, x: Tensor) -> Any:
            return {"a": super().forward(x), "b": x}

    with pytest.raises(
        UnsupportedNetworkError, match=r"with a \(2, 5\), b .*none is called logits; say where.*logits="
    ):
        cambench.wrap(model=Returning(), layer="body", **HALF)


class Several(Small):
    """Called with more than images."""

    def forward(self, x: Tensor, scale: Tensor, *, shift: float = 0.0) -> Tensor:
        out: Tensor = super().forward(x)
        return out * scale + shift


@pytest.mark.parametrize("named", [False, True])
def test_several_inputs(named: bool) -> None:
    two = torch.tensor(2.0)

    def inputs(images: Tensor) -> Any:
        return {"x": images, "scale": two, "shift": 1.0} if named else (images, two)

    net = cambench.wrap(model=Several(), layer="body", inputs=inputs, **HALF)
    expected = Several().eval()(pictures(), two, shift=1.0 if named else 0.0)
    torch.testing.assert_close(net(pictures()), expected)
    with pytest.raises(
        UnsupportedNetworkError, match="missing 1 required .*'scale'.*inputs=… if it is called with more"
    ):
        cambench.wrap(model=Several(), layer="body", **HALF)


class Skipping(Small):
    """What the layer makes is added to what came before it, as in a residual block or a U-Net."""

    def forward(self, x: Tensor) -> Tensor:
        stem = self.norm(self.stem(x))
        made = torch.cat((self.body(stem)[:, :2], stem), 1)
        out: Tensor = self.fc(F.softplus(made).amax((-2, -1)))
        return out


@pytest.mark.parametrize(
    ("model", "layer", "through"), [(Small(), "norm", False), (Small(), "body", False), (Skipping(), "body", True)]
)
def test_the_rest_of_the_network_is_the_head(model: nn.Module, layer: str, through: bool) -> None:
    net = cambench.wrap(name="mine", model=model, layer=layer, **HALF)
    assert (net.head_kind, net.through_network, net.input_size) == ("other", through, 224 if through else None)
    images = pictures(size=224)
    found = evidence(net, images)
    features, gradient = by_hand(model, layer, images, lambda out: out)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.gradients, gradient, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.logits, model(images), rtol=1e-4, atol=1e-5)
    reason = supports(CAMS.get("cam"), net)
    assert reason is not None
    assert "cam needs a GAP + linear head, and mine has another kind of head" in reason

    # A channel that is set to zero, by hand: the layer's output is changed in a forward of the whole.
    def without_first(m: nn.Module, given: Any, out: Tensor) -> Tensor:
        return torch.cat((torch.zeros_like(out[:, :1]), out[:, 1:]), 1)

    hook = model.get_submodule(layer).register_forward_hook(without_first)
    expected = model(images).gather(1, torch.arange(2)[:, None])[:, 0]
    hook.remove()
    changed = features.clone()
    changed[:, 0] = 0
    torch.testing.assert_close(found.score_features(changed), expected, rtol=1e-4, atol=1e-5)
    if found.score_features(changed).sub(found.logits.gather(1, torch.arange(2)[:, None])[:, 0]).abs().max() > 0:
        assert raw_map(CAMS.get("ablationcam"), found, clamp=False).abs().max() > 0


@pytest.mark.parametrize("layer", ["body", "norm"])
def test_a_fresh_branch_has_a_new_classifier_and_the_same_network(layer: str) -> None:
    net = cambench.wrap(model=Skipping(), layer=layer, **HALF)
    head = net.head().fresh(torch.Generator().manual_seed(1))
    assert [tuple(v.shape) for v in head.state_dict().values()] == [(5, 8), (5,)]
    with torch.no_grad():
        features = net.features(pictures(size=224))
        kept = head.condense(features)
        assert kept.shape == (2, 8, 1, 1)
        torch.testing.assert_close(head(kept), head(features))
        assert not torch.allclose(head(features), net.head()(features))
        three = net.head().fresh(num_classes=3)
        assert three(features).shape == (2, 3)
    copied = copy.deepcopy(net)
    copied.body.net.fc.weight.data.zero_()
    assert net(pictures()).std() > 0, "a copy has a network of its own"


def attributes(model: nn.Module) -> list[Any]:
    """All of a network that anybody may look at."""
    found: list[Any] = []
    for name, module in model.named_modules():
        found += [name, type(module), module.training, module.__dict__.get("inplace"), sorted(module.__dict__)]
        found += [
            list(getattr(module, kind).items()) for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        ]
    for key, tensor in (*model.named_parameters(), *model.named_buffers()):
        found += [key, id(tensor), tensor.dtype, tensor.device, tensor.requires_grad]
        found.append(tensor.detach().double().tolist())
    return found


def made_in_inference_mode() -> nn.Module:
    with torch.inference_mode():
        return Small()


def with_hooks() -> nn.Module:
    model = Small()
    model.body.register_forward_hook(lambda m, given, out: None)
    model.body.register_full_backward_hook(lambda m, given, out: None)
    model.norm.register_forward_pre_hook(lambda m, given: None)
    return model


def locked() -> nn.Module:
    """An attribute that no copy can be made of, and a tensor with a graph."""
    import threading

    model = Small()
    model.lock = threading.Lock()  # type: ignore[assignment]
    model.seen = model.fc(torch.ones(1, 8))  # type: ignore[assignment]
    return model


class Compiled(nn.Module):
    """What ``torch.compile`` returns, without its compiler, whose import takes longer than all tests here."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self._orig_mod = net

    def forward(self, x: Tensor) -> Any:
        return self._orig_mod(x)


STATES: dict[str, Callable[[], nn.Module]] = {
    "plain": Small,
    "training": lambda: Small().train(),
    "frozen": lambda: Small().requires_grad_(False),
    "half": lambda: Small().half(),
    "bfloat16": lambda: Small().bfloat16(),
    "double": lambda: Small().double(),
    "compiled": lambda: Compiled(Small()),
    "data parallel": lambda: nn.DataParallel(Small()),
    "both": lambda: nn.DataParallel(Compiled(Small())),
    "inference mode": made_in_inference_mode,
    "hooks of others": with_hooks,
    "what cannot be copied": locked,
}


@pytest.mark.filterwarnings("ignore:.*holds .* parameters")
@pytest.mark.parametrize("how", ["layer", "parts", "found"])
@pytest.mark.parametrize("state", list(STATES))
def test_states_that_networks_are_in(state: str, how: str) -> None:
    model = STATES[state]()
    before = attributes(model)
    inner = getattr(model, "module", model)
    inner = getattr(inner, "_orig_mod", inner)
    if how == "layer":
        net = cambench.wrap(name="mine", model=model, layer="body", **HALF)
    elif how == "parts":
        net = cambench.wrap(
            name="mine", features=inner.maps, head=lambda f: inner.fc(f.mean((-2, -1))), model=model, **HALF
        )
    else:
        net = backbone_of(model, **HALF)
    found = evidence(net, pictures())
    assert attributes(model) == before
    tolerance = 0.05 if state in ("half", "bfloat16") else 1e-4
    torch.testing.assert_close(found.logits, Small().eval()(pictures()), rtol=tolerance, atol=tolerance)
    assert found.gradients.dtype == torch.float32
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in net.parameters())
    assert raw_map(CAMS.get("gradcam"), found, clamp=False).abs().max() > 0


@pytest.mark.slow
def test_compiled_networks() -> None:
    model = torch.compile(Small(), backend="eager")
    whole = Small()
    whole.compile(backend="eager")
    for given in (model, whole, nn.Sequential(torch.compile(Small(), backend="eager"))):  # type: ignore[arg-type]
        for net in (cambench.wrap(name="mine", model=given, **HALF), backbone_of(given, **HALF)):  # type: ignore[arg-type]
            torch.testing.assert_close(net(pictures()), Small().eval()(pictures()))
            assert evidence(net, pictures()).gradients.abs().max() > 0


def test_another_precision_is_said_once() -> None:
    with pytest.warns(
        UserWarning, match="mine holds float16 parameters: everything is computed on a float32 copy"
    ) as said:
        cambench.wrap(name="mine", model=Small().half(), layer="body", **HALF)
    assert len(said) == 1


def test_inside_inference_mode() -> None:
    with torch.inference_mode():
        net = cambench.wrap(model=Small(), layer="body", **HALF)
    assert evidence(net, pictures()).gradients.abs().max() > 0


@contextmanager
def double_by_default() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def inside(context: Any) -> tuple[Tensor, Tensor]:
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    model = Small()
    with context:
        found = cambench.explain(model, picture, layer="body", mean=HALF["mean"], std=HALF["std"])
    return found.low_res, found.score


@pytest.mark.parametrize("state", ["inference mode", "no gradient", "autocast", "double by default"])
def test_the_callers_torch_changes_no_number(state: str) -> None:
    contexts = {
        "inference mode": torch.inference_mode(),
        "no gradient": torch.no_grad(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
        "double by default": double_by_default(),
    }
    for there, here in zip(inside(contexts[state]), inside(nullcontext()), strict=True):
        assert torch.equal(there, here)


def test_whatever_a_network_raises_is_one_sentence() -> None:
    exported = torch.export.export(Small().eval(), (pictures(1),)).module()
    for read in (lambda: cambench.wrap(model=exported, **HALF), lambda: backbone_of(exported, **HALF)):
        with pytest.raises(UnsupportedNetworkError, match=r"GraphModule is not supported: .*(give|fails)"):
            read()


def test_a_hook_that_changes_the_output_is_part_of_the_network() -> None:
    model = Small()
    model.fc.register_forward_hook(lambda m, given, out: out * 2)
    for net in (cambench.wrap(model=model, layer="body", **HALF), backbone_of(model, **HALF)):
        torch.testing.assert_close(net(pictures()), 2 * Small().eval()(pictures()))


@pytest.mark.parametrize("how", ["layer", "parts"])
def test_a_hook_that_only_looks_is_left_behind(how: str) -> None:
    model, looked = Small(), list[int]()
    model.body.register_forward_hook(lambda m, given, out: looked.append(1))
    if how == "layer":
        net = cambench.wrap(model=model, layer="body", **HALF)
    else:
        net = cambench.wrap(
            name="mine", features=model.maps, head=lambda f: model.fc(f.mean((-2, -1))), model=model, **HALF
        )
    looked.clear()
    net(pictures())
    assert not looked


def quantised() -> nn.Module:
    model = Small()
    model.fc.weight = nn.Parameter(model.fc.weight.to(torch.int8), requires_grad=False)
    return model


REFUSED: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "compiled by torch.jit .*its layers can neither be read nor copied; give the network in Python": (
        lambda: torch.jit.trace(Small().eval(), pictures()),
        {},
    ),
    "its part 0 is compiled by torch.jit": (
        lambda: nn.Sequential(torch.jit.trace(Small().eval(), pictures()), nn.Identity()),
        {"layer": None},
    ),
    "fc .quantised.*give the network before it was quantised": (
        lambda: torch.ao.quantization.quantize_dynamic(Small(), {nn.Linear}),
        {},
    ),
    "its logits are int64; give real numbers": (Small, {"logits": lambda o: o.long()}),
    "its logits are complex64; give real numbers": (Small, {"logits": lambda o: o.to(torch.complex64)}),
    "is on the device meta and holds no values": (lambda: Small().to("meta"), {}),
    "fc.weight .torch.int8.: integers have no gradient": (quantised, {}),
    "its lazy layers have no shape yet; run it on one image first": (lambda: nn.Sequential(nn.LazyConv2d(3, 3)), {}),
    "it has no layer 'bodi'; nearest: body": (Small, {"layer": "bodi"}),
    "the layer fc returns a tensor of shape .2, 5. for two images; expected a feature map": (Small, {"layer": "fc"}),
    "wrap takes no layers; it takes mean": (Small, {"layers": "body"}),
    "logits= and score= are two ways": (Small, {"logits": lambda o: o, "score": lambda o: o}),
    "score=… needs layer=": (Small, {"layer": None, "score": lambda o: o}),
    "logits fails on what it returns, .2, 5. .IndexError": (Small, {"logits": lambda o: o[:, :, 0]}),
    "its logits are .2, 3, 64, 64. for two images, expected .2,C.; for maps of classes or boxes give score=": (
        lambda: nn.Conv2d(3, 3, 1),
        {"layer": None, "input_size": 64},
    ),
    "std .0.0, 1.0, 1.0.: expected finite numbers, of std above zero": (Small, {"std": (0, 1, 1)}),
    "takes images of 2 channels: give mean=… and std=…, 2 values each": (lambda: Small(channels=2), {"mean": None}),
    "3 class names for 5 logits": (Small, {"class_names": "abc"}),
}


@pytest.mark.parametrize("message", list(REFUSED))
def test_refused_in_words(message: str) -> None:
    make, options = REFUSED[message]
    given: dict[str, Any] = {"model": make(), "layer": "body", **HALF, **options}
    if given["mean"] is None:
        given["std"] = None
    with pytest.raises(UnsupportedNetworkError, match=message.replace("=… and std=…", "=.* and std=.*")):
        cambench.wrap(name="mine", **given)


def trunk(*last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 8, 3, 16, 1), nn.BatchNorm2d(8), nn.ReLU(), *(last or ()), *pool)


EMBEDDINGS = {
    "what 1 .BatchNorm2d. and a pooling make": trunk,
    "the activated outputs of 3 .Conv2d.": lambda: trunk(nn.Conv2d(8, 6, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "the activated outputs of 5 .Linear.": lambda: nn.Sequential(*trunk(), nn.Linear(8, 6), nn.Hardswish()),
}


@pytest.mark.parametrize("message", list(EMBEDDINGS))
def test_a_network_without_a_classifier_is_refused_by_name(message: str) -> None:
    model = EMBEDDINGS[message]()
    words = f"Sequential is not supported: it has no classifier: its . values an image are {message}, features and no"
    with pytest.raises(UnsupportedNetworkError, match=words):
        cambench.wrap(model=model, **HALF)
    with pytest.raises(UnsupportedNetworkError, match=r"Sequential is .* it has no classifier: its \d values"):
        backbone_of(model, **HALF)
    classes = model(torch.zeros(1, 3, 64, 64)).shape[1]
    assert cambench.wrap(model=model, class_names=[str(k) for k in range(classes)], **HALF).num_classes == classes


@pytest.mark.parametrize(
    "last",
    [(nn.Conv2d(8, 6, 1),), (nn.Conv2d(8, 6, 3),), (nn.Conv2d(8, 6, 1), nn.ReLU())],
    ids=["1x1", "3x3", "squeeze"],
)
def test_convolutions_that_make_class_maps_are_classifiers(last: tuple[nn.Module, ...]) -> None:
    assert backbone_of(trunk(*last), **HALF).num_classes == 6


def test_timm_without_a_classifier_is_refused() -> None:
    import timm

    with pytest.raises(UnsupportedNetworkError, match=r"it has no classifier \(num_classes=0\).*reset_classifier"):
        backbone_of(timm.create_model("test_resnet", num_classes=0))


@pytest.mark.parametrize("end", ["logit", "sigmoid", "squeezed", "parts", "functions"])
def test_one_logit_has_two_readings(end: str) -> None:
    """By hand: class 1 has σ(z), class 0 has 1 − σ(z); the evidence of class 0 is the negated logit."""

    class Ending(Small):
        def forward(self, x: Tensor) -> Tensor:
            z = self.fc(self.maps(x).mean((-2, -1)))
            return {"sigmoid": z.sigmoid(), "squeezed": z.squeeze(1), "functions": F.softplus(z)}.get(end, z)

    model = Ending(classes=1)
    options: dict[str, Any] = {"model": model, "layer": "body"}
    if end == "parts":
        options = {
            "features": model.body,
            "head": nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.fc),
        }
        options["features"] = nn.Sequential(model.stem, model.norm, nn.ReLU(), model.body)
    net = cambench.wrap(name="chest", class_names=["pneumonia"], **options, **HALF)
    images = pictures()
    z = model.eval().fc(model.maps(images).mean((-2, -1)))
    z = F.softplus(z) if end == "functions" else z
    torch.testing.assert_close(net(images), torch.cat((-z, z), 1), rtol=1e-4, atol=1e-4)
    p = z.double().sigmoid()
    torch.testing.assert_close(net.scores(net(images)), torch.cat((1 - p, p), 1), rtol=1e-4, atol=1e-5)
    assert (net.num_classes, net.activation, net.class_names) == (2, "sigmoid", ("not pneumonia", "pneumonia"))
    found = evidence(net, images)
    again = Evidence(found.features, net.head(), 1 - found.target, found.image_ids, images, net)
    torch.testing.assert_close(found.gradients, -again.gradients)
    assert found.gradients.abs().max() > 0
    if end != "functions":
        assert net.head().fresh()(found.features).shape == (2, 2)


def test_gap_and_one_logit_stays_gap_and_linear() -> None:
    model = nn.Sequential(*trunk(), nn.Linear(8, 1))
    net = backbone_of(model, **HALF)
    weight = net.head().class_weights(torch.tensor([0, 1]))
    assert weight is not None
    assert net.head_kind == "gap_linear"
    assert torch.equal(weight[0], -model[-1].weight[0])
    assert torch.equal(weight[1], model[-1].weight[0])


def test_independent_sigmoids_are_a_multi_label_network() -> None:
    for model, said in ((nn.Sequential(Small(), nn.Sigmoid()), {}), (Small(), {"multi_label": True})):
        net = cambench.wrap(name="mine", model=model, **HALF, **said)  # type: ignore[arg-type]
        assert (net.multi_label, net.activation, net.num_classes) == (True, "sigmoid", 5)
        logits = Small().eval()(pictures())
        torch.testing.assert_close(net(pictures()), logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(net.scores(logits), logits.double().sigmoid())


@pytest.mark.parametrize("bands", [1, 2, 4, 13])
def test_images_of_any_number_of_bands(bands: int) -> None:
    stats = {"mean": [0.25] * bands, "std": [0.5] * bands}
    model = Small(channels=bands)
    net = cambench.wrap(model=model, layer="body", **stats)
    assert net.image_channels == bands
    pixels = torch.rand(2, bands, 64, 64)
    normalised = net.normalise(pixels)
    torch.testing.assert_close(normalised, (pixels - 0.25) / 0.5)
    assert evidence(net, normalised).gradients.abs().max() > 0
    colours = torch.rand(2, 3, 8, 8)
    if bands == 1:
        grey = (0.299 * colours[:, 0] + 0.587 * colours[:, 1] + 0.114 * colours[:, 2])[:, None]
        torch.testing.assert_close(net.normalise(colours), (grey - 0.25) / 0.5)
    else:
        with pytest.raises(ValueError, match=f"takes images of {bands} channels, got 3"):
            net.normalise(colours)


class Tokens(nn.Module):
    """A transformer's shape: patches of one size, positions for one grid, a class token that decides."""

    def __init__(self, size: int, registers: int = 0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image_size, tokens = size, (size // 32) ** 2 + 1 + registers
        self.registers = registers
        self.patches = nn.Conv2d(3, 8, 32, 32)
        self.pos_embed = nn.Parameter(torch.randn(1, tokens, 8))
        self.first, self.attention = nn.LayerNorm(8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.last, self.fc = nn.LayerNorm(8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        extra = patches.new_zeros(len(x), 1 + self.registers, 8)
        tokens = torch.cat((extra, patches), 1) + self.pos_embed
        normal = self.first(tokens)
        tokens = tokens + self.attention(normal, normal, normal, need_weights=False)[0]
        out: Tensor = self.fc(self.last(tokens)[:, 0])
        return out


@pytest.mark.parametrize(("size", "registers"), [(256, 0), (384, 4)])
def test_a_transformer_gets_its_own_size_and_its_maps_the_protocols(size: int, registers: int) -> None:
    model = Tokens(size, registers)
    net = cambench.wrap(model=model, **HALF)
    grid = size // 32
    assert (net.feature_layer, net.input_size, net.through_network) == ("first", size, True)
    images = pictures(size=224)
    found = evidence(net, images)
    large = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
    tokens, gradient = by_hand(model, "first", large, lambda out: out)
    shape = (2, 8, grid, grid)
    torch.testing.assert_close(found.features, tokens[:, 1 + registers :].transpose(1, 2).reshape(shape))
    torch.testing.assert_close(
        found.gradients, gradient[:, 1 + registers :].transpose(1, 2).reshape(shape), rtol=1e-3, atol=1e-6
    )
    with pytest.raises(UnsupportedNetworkError, match=r"does not depend on the map of last .*name layer='first'"):
        cambench.wrap(model=model, layer="last", **HALF)


def test_a_timm_transformer_gets_its_own_size() -> None:
    import timm

    model = timm.create_model("test_vit", img_size=96, num_classes=3)
    net = backbone_of(model)
    assert net.input_size == 96
    images = pictures(size=224)
    small = F.interpolate(images, (96, 96), mode="bilinear", align_corners=False, antialias=True)
    torch.testing.assert_close(net(images), model.eval()(small), rtol=1e-4, atol=1e-5)


class Segmenting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Conv2d(3, 8, 3, 16, 1), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"out": F.interpolate(self.decoder(F.gelu(self.encoder(x))), x.shape[-2:], mode="bilinear")}


def test_segmentation_through_a_score() -> None:
    mask = torch.zeros(224, 224)
    mask[:112, 50:150] = 1

    def score(out: dict[str, Tensor]) -> Tensor:
        return (out["out"] * mask).sum((-2, -1)) / mask.sum()

    model = Segmenting()
    net = cambench.wrap(model=model, layer="encoder", score=score, input_size=224, **HALF)
    found = evidence(net, pictures(size=224))
    features, gradient = by_hand(model, "encoder", pictures(size=224), score)
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.gradients, gradient, rtol=1e-4, atol=1e-7)
    assert found.gradients[:, :, 8:].abs().max() == 0, "behind the mask nothing speaks for the score"
    one = cambench.wrap(model=model, layer="encoder", score=lambda out: score(out)[:, 2], input_size=224, **HALF)
    assert (one.num_classes, one.activation) == (1, "sigmoid")


def test_another_function_is_another_network() -> None:
    model = Small()

    def wrapped(pick: Callable[[Any], Tensor]) -> str:
        return features_digest(cambench.wrap(name="mine", model=model, layer="body", logits=pick, **HALF))

    half, double = 0.5, 2.0
    assert wrapped(lambda out: out * half) == wrapped(lambda out: out * half)
    assert wrapped(lambda out: out * half) != wrapped(lambda out: out * double)
    assert wrapped(lambda out: out + 1) != wrapped(lambda out: out - 1)


def test_a_hugging_face_transformer() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    names = {0: "cat", 1: "dog"}
    config = transformers.ViTConfig(**sizes, image_size=64, patch_size=16, id2label=names, label2id={})
    model = transformers.ViTForImageClassification(config)
    net = cambench.wrap(name="mine", model=model, **HALF)
    assert (net.input_size, net.class_names, net.through_network) == (64, ("cat", "dog"), True)
    assert "layernorm_before" in net.feature_layer
    torch.testing.assert_close(net(pictures()), model.eval()(pictures()).logits)
    with pytest.raises(UnsupportedNetworkError, match="returns a .*last_hidden_state .*none is called logits"):
        cambench.wrap(name="mine", model=transformers.ViTModel(config), **HALF)
