"""Whole networks as they are, read by hooks: maps and gradients against autograd by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from small_network import HALF, Small, by_hand, evidence, pictures
from torch import Tensor, nn
from torch.nn import functional as F

import cambench
from cambench.baselines.backbones import backbone_of, features_digest
from cambench.baselines.backbones.timm.layout import UnsupportedNetworkError
from cambench.baselines.cams import CAMS, raw_map, supports


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


class Seen(NamedTuple):
    features: Tensor
    preds: Tensor


def test_of_several_parts_with_names_none_is_guessed() -> None:
    """The first was read, whatever it was called."""

    class Returning(Small):
        def forward(self, x: Tensor) -> Any:
            return Seen(x.mean((-2, -1)), super().forward(x))

    with pytest.raises(UnsupportedNetworkError, match=r"a Seen with features \(2, 3\), preds \(2, 5\).*out: out.NAME"):
        cambench.wrap(model=Returning(), layer="body", **HALF)
    net = cambench.wrap(model=Returning(), layer="body", logits=lambda out: out.preds, **HALF)
    torch.testing.assert_close(net(pictures()), Small().eval()(pictures()))


def test_the_first_of_several_is_said() -> None:
    class Returning(Small):
        def forward(self, x: Tensor) -> Any:
            made = super().forward(x)
            return made, made[:, :2]

    with pytest.warns(UserWarning, match=r"Returning returns a tuple with 0 \(2, 5\), 1 \(2, 2\): the first is read"):
        cambench.wrap(model=Returning(), layer="body", **HALF)


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
