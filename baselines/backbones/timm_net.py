"""Any timm network by its name: ``forward_features`` gives the target feature map, ``forward_head`` the head.

Target layer, layout (NCHW, NHWC, tokens), input mean and std come from timm; what the network really computes is
checked once on a probe image, so a network that does not fit is refused and never measured wrongly.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from ...registry import RegistryError, UnknownNameError
from ..base import Backbone, Head
from ..heads import GapLinear, ModuleHead
from ..weights_io import State, WeightsError, apply_state

PROBE_SIZE = 224


class UnsupportedNetworkError(RegistryError):
    """A timm network whose head cannot be run from a feature map (B,N,P,Q)."""


@dataclass(frozen=True)
class Layout:
    """How the output of ``forward_features`` maps to (B,N,P,Q).

    ``prefix`` counts class and register tokens; ``restore`` puts zeros in their place.
    """

    kind: Literal["nchw", "nhwc", "tokens"]
    prefix: int = 0

    def feature_map(self, raw: Tensor) -> Tensor:
        """(B,N,P,Q) of (B,N,P,Q), (B,P,Q,N) or (B,prefix+P·P,N)."""
        if self.kind == "nchw":
            return raw
        if self.kind == "nhwc":
            return raw.permute(0, 3, 1, 2)
        patches = raw[:, self.prefix :]
        side = math.isqrt(patches.shape[1])
        return patches.transpose(1, 2).reshape(len(raw), -1, side, side)

    def restore(self, features: Tensor) -> Tensor:
        """The inverse of ``feature_map``, with zeros for prefix tokens."""
        if self.kind == "nchw":
            return features
        if self.kind == "nhwc":
            return features.permute(0, 2, 3, 1)
        patches = features.flatten(2).transpose(1, 2)
        return nn.functional.pad(patches, (0, 0, self.prefix, 0))


class ForwardHead(nn.Module):
    """``forward_head`` of a timm network on a feature map, without the network's body."""

    def __init__(self, net: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.net, self.layout = net, layout

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,P,Q)."""
        logits: Tensor = self.net.forward_head(self.layout.restore(features))  # type: ignore[operator]
        return logits


class TimmBackbone(Backbone):
    """A timm network split at its last feature map.

    Args:
        model: A network that ``timm.create_model`` made; it is taken apart.
        name: Name in triples.
        mean: Input mean in [0, 1]; timm's where None.
        std: Input standard deviation in [0, 1]; timm's where None.

    Raises:
        UnsupportedNetworkError: The head does not read a feature map alone.
    """

    def __init__(
        self, model: nn.Module, name: str, mean: tuple[float, ...] | None = None, std: tuple[float, ...] | None = None
    ) -> None:
        config: dict[str, Any] = dict(getattr(model, "pretrained_cfg", None) or {})
        super().__init__(
            mean or config.get("mean", IMAGENET_DEFAULT_MEAN), std or config.get("std", IMAGENET_DEFAULT_STD)
        )
        self.name = name
        model.eval()
        self.num_classes = int(model.num_classes)  # type: ignore[arg-type]
        probe = torch.randn(1, 3, PROBE_SIZE, PROBE_SIZE, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            with _calls(model) as body_calls:
                raw = _forward_features(model, probe, name)
            self.layout = find_layout(model, raw, name)
            self.feature_layer, self.nonnegative = _last_layer(body_calls, raw)
            with _calls(model) as head_calls:
                logits = model.forward_head(raw)  # type: ignore[operator]
            head = self._split(model, raw, body_calls, head_calls)
            check = head(self.layout.feature_map(raw))
        if not _close(check, logits):
            raise _unsupported(name, "its head gives other logits once it is split from the body")
        self.model, self.head_kind = model, head.kind
        self.heads["softmax"] = head

    def features(self, images: Tensor) -> Tensor:
        """Target feature map (B,N,P,Q) of normalised images (B,3,R,R)."""
        return self.layout.feature_map(self.model.forward_features(images))  # type: ignore[operator]

    def _split(self, model: nn.Module, raw: Tensor, body: list[Call], head: list[Call]) -> Head:
        """The head as a module of its own; its layers leave ``model``."""
        averages = _pooled(model, raw, self.layout, self.name)
        in_body, in_head = ({call.name.split(".")[0] for call in calls} for calls in (body, head))
        memo: dict[int, Any] = {id(p): None for p in model.parameters(recurse=False)}
        for child_name, child in model.named_children():
            if child_name not in in_head:
                memo[id(child)] = nn.Identity()
            elif child_name not in in_body:
                memo[id(child)] = child
        net = copy.deepcopy(model, memo)
        classifier = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]
        for child_name in in_head - in_body:
            setattr(model, child_name, nn.Identity())
        whole = ForwardHead(net, self.layout)
        if averages and isinstance(classifier, nn.Linear | nn.Conv2d):
            gap = _gap_linear(classifier)
            features = self.layout.feature_map(raw)
            if _close(gap(features), whole(features)):
                return gap
        return ModuleHead(whole, self.num_classes, tuple(f"net.{n}" for n in _classifier_names(model)))


def _gap_linear(classifier: nn.Linear | nn.Conv2d) -> GapLinear:
    """GAP and the weights of a linear layer or a 1×1 convolution (whose logits the caller compares)."""
    gap = GapLinear(classifier.weight.shape[1], classifier.weight.shape[0], classifier.bias is not None)
    gap.linear.weight.data = classifier.weight.detach().flatten(1)
    if classifier.bias is not None:
        gap.linear.bias.data = classifier.bias.detach()
    return gap


@dataclass(frozen=True)
class Call:
    """One call of a submodule: its name, itself, what it returned."""

    name: str
    module: nn.Module
    output: Any


@contextmanager
def _calls(model: nn.Module) -> Iterator[list[Call]]:
    """Calls of all submodules inside the block, in the order in which they end."""
    calls: list[Call] = []
    handles = []
    for name, module in model.named_modules():
        if name:
            handles.append(module.register_forward_hook(lambda m, _, out, name=name: calls.append(Call(name, m, out))))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def find_layout(model: nn.Module, raw: Tensor, name: str) -> Layout:
    """Layout of the output ``raw`` of ``forward_features``."""
    if raw.ndim == 4:
        stated = getattr(model, "output_fmt", None)
        stated = str(getattr(stated, "value", stated)).lower() if stated is not None else None
        channels = getattr(model, "num_features", None)
        last = raw.shape[1] == raw.shape[2] != raw.shape[3] == channels != raw.shape[1]
        return Layout("nhwc" if stated == "nhwc" or (stated is None and last) else "nchw")
    if raw.ndim == 3:
        prefix = int(getattr(model, "num_prefix_tokens", 0))
        count = raw.shape[1] - prefix
        if math.isqrt(count) ** 2 == count:
            return Layout("tokens", prefix)
        raise _unsupported(name, f"its {count} tokens form no square map")
    raise _unsupported(name, f"forward_features returns a tensor of shape {tuple(raw.shape)}, not a feature map")


def _forward_features(model: nn.Module, probe: Tensor, name: str) -> Tensor:
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise _unsupported(name, "it has no forward_features and forward_head")
    try:
        raw = model.forward_features(probe)  # type: ignore[operator]
    except (AssertionError, RuntimeError, ValueError) as error:
        size = f"{PROBE_SIZE}×{PROBE_SIZE}"
        raise _unsupported(name, f"it does not take images of {size} pixels ({error})") from error
    if not isinstance(raw, Tensor):
        raise _unsupported(name, f"forward_features returns a {type(raw).__name__}, not one feature map")
    return raw


def _pooled(model: nn.Module, raw: Tensor, layout: Layout, name: str) -> bool:
    """Whether the head averages the map and nothing else; raises if it reads more than the map (a class token)."""
    features = layout.feature_map(raw)
    try:
        before, after = (model.forward_head(x, pre_logits=True) for x in (raw, layout.restore(features)))  # type: ignore[operator]
    except TypeError:
        before, after = (model.forward_head(x) for x in (raw, layout.restore(features)))  # type: ignore[operator]
    if not isinstance(before, Tensor):
        raise _unsupported(name, "its head returns more than one tensor")
    if not _close(before, after):
        raise _unsupported(
            name,
            "its head reads the class token, so the patch tokens of the last layer get no gradient; "
            "networks that average their tokens work (timm names with 'gap', such as vit_little_patch16_reg1_gap_256)",
        )
    mean = features.mean((-2, -1))
    return before.shape == mean.shape and _close(before, mean)


def _last_layer(calls: list[Call], raw: Tensor) -> tuple[str, bool]:
    """Name of the innermost of the last modules whose output is the feature map, and whether it is a ReLU."""
    same = [c for c in calls if isinstance(c.output, Tensor) and c.output.shape == raw.shape]
    same = [c for c in same if not isinstance(c.module, nn.Identity | nn.Dropout) and torch.equal(c.output, raw)]
    last: Call | None = None
    while same:
        last = same[-1]
        same = [c for c in same if c.name.startswith(f"{last.name}.")]
    if last is None:
        return "forward_features", False
    # A later in-place addition would show as negative values: the recorded output is the tensor itself.
    return last.name, isinstance(last.module, nn.ReLU | nn.ReLU6) and bool((raw >= 0).all())


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=1e-4, atol=1e-5)


def _unsupported(name: str, reason: str) -> UnsupportedNetworkError:
    return UnsupportedNetworkError(f"{name} is not supported yet: {reason}")


def create(model_name: str, *, pretrained: bool, num_classes: int | None = None) -> nn.Module:
    """A timm model for images of 224×224 pixels.

    Raises:
        UnknownNameError: timm has no such model; the message lists the nearest names.
        WeightsError: Its pretrained weights cannot be had.
    """
    if not model_name.startswith(("hf_hub:", "hf-hub:", "local-dir:")) and not timm.is_model(model_name):
        raise UnknownNameError("timm model", model_name, timm.list_models())
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    config = timm.get_pretrained_cfg(model_name.split(".")[0]) if timm.is_model(model_name) else None
    if config is not None and config.fixed_input_size and config.input_size[-1] != PROBE_SIZE:
        options["img_size"] = PROBE_SIZE
    try:
        model: nn.Module = timm.create_model(model_name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise _unsupported(
                f"timm:{model_name}", f"timm cannot build it for images of 224×224 pixels ({error})"
            ) from error
        raise WeightsError(
            f"timm:{model_name}: its pretrained weights cannot be had ({type(error).__name__}: {error}). "
            "Give a file with --weights FILE, or --no-pretrained for random ones"
        ) from error
    if lacks_classifier(model_name):
        # Feature extractors come without a classifier; a fresh one stands in until the data's classes are known.
        model.reset_classifier(1)  # type: ignore[operator]
    return model


def lacks_classifier(model_name: str) -> bool:
    """Whether timm's model is a feature extractor without classes of its own."""
    config = timm.get_pretrained_cfg(model_name) if timm.is_model(model_name) else None
    return config is not None and config.num_classes == 0


def create_from_state(model_name: str, state: State, file: str) -> nn.Module:
    """A timm model with the weights of a file in timm's own key names; its classes are those of the file."""
    model = create(model_name, pretrained=False)
    names = _classifier_names(model)
    weight = state.get(f"{names[0]}.weight") if names else None
    if weight is not None and len(weight) != model.num_classes:
        model = create(model_name, pretrained=False, num_classes=len(weight))
    apply_state(model, state, file)
    return model


def _classifier_names(model: nn.Module) -> tuple[str, ...]:
    config = getattr(model, "pretrained_cfg", None) or {}
    names = config.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)
