"""Any timm network by its name: ``forward_features`` gives the target feature map, ``forward_head`` the head.

Target layer, layout (NCHW, NHWC, tokens), input mean and std come from timm; what the network really computes is
checked once on a probe image, so a network that does not fit is refused and never measured wrongly. The feature map is
the output of ``forward_features``; for networks that decide by a class token see ``timm_tokens``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ...contracts import IMAGENET_MEAN, IMAGENET_STD, Backbone, Branch, Head
from ...heads.context import rows_of
from ...heads.heads import ModuleHead, gap_linear_of, reset
from ...probes.attention import attention_layers, read_attention
from .create import PROBE_SIZE, classifier_names, create, create_from_state, fixed_size, lacks_classifier
from .layout import Call, TimmLayout, UnsupportedNetworkError, calls, close, find_layout, last_layer, unsupported
from .tokens import SemanticHead, Tail, Tap, TokenHead, last_block, packed_features

__all__ = ["TimmBackbone", "TimmLayout", "UnsupportedNetworkError", "create", "create_from_state", "lacks_classifier"]


class ForwardHead(nn.Module):
    """``forward_head`` of a timm network on a feature map, without the network's body."""

    def __init__(self, net: nn.Module, layout: TimmLayout) -> None:
        super().__init__()
        self.net, self.layout = net, layout

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,P,Q)."""
        logits: Tensor = self.net.forward_head(self.layout.restore(features))  # type: ignore[operator]
        return logits


class TimmBackbone(Backbone):
    """A timm network split at its last feature map on which the logits depend.

    Args:
        model: A network that ``timm.create_model`` made; it is taken apart.
        name: Name in triples.
        mean: Input mean in [0, 1]; timm's where None.
        std: Input standard deviation in [0, 1]; timm's where None.
        input_size: Side in pixels of its images, which are resized to it; None: the one it was built for, if it has.

    Raises:
        UnsupportedNetworkError: The head does not read one feature map; the message says why.
    """

    def __init__(
        self,
        model: nn.Module,
        name: str,
        mean: tuple[float, ...] | None = None,
        std: tuple[float, ...] | None = None,
        input_size: int | None = None,
    ) -> None:
        config: dict[str, Any] = dict(getattr(model, "pretrained_cfg", None) or {})
        super().__init__(mean or config.get("mean", IMAGENET_MEAN), std or config.get("std", IMAGENET_STD))
        self.name, self.input_size = name, input_size or fixed_size(model)
        size = self.input_size or PROBE_SIZE
        model.eval()
        self.num_classes = int(model.num_classes)  # type: ignore[arg-type]
        self.tap: Tap | None = None
        self.normalisation: nn.Module | None = None
        probe = torch.randn(1, self.image_channels, size, size, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            with calls(model) as body_calls:
                raw = _forward_features(model, probe, name)
            self.layout = find_layout(model, raw, name)
            self.prefix_tokens = self.layout.prefix
            with calls(model) as head_calls:
                logits = _forward_head(model, raw, name)
            if not isinstance(logits, Tensor):
                raise unsupported(name, "its head returns more than one tensor")
            names = _children(body_calls), _children(head_calls)
            alone = raw.ndim == 3 and raw.shape[1] == self.layout.prefix
            if alone or _reads_prefix(model, raw, self.layout):
                head: Head = self._split_tokens(model, raw, body_calls, *names)
                self.class_token = True
                self.model = model
                features = self.features(probe)
            else:
                self.feature_layer, self.nonnegative = last_layer(body_calls, raw)
                self.model = model
                features = self.layout.feature_map(raw)
                head = self._split(model, raw, *names)
            check = head(features)
        self.grid = (features.shape[-2] - head.context_rows, features.shape[-1])
        self.channels = features.shape[1]
        if not close(check, logits):
            raise unsupported(name, "its head gives other logits once it is split from the body")
        self.head_kind = head.kind
        self.heads["softmax"] = head
        if self.layout.kind == "nchw":
            self.stages = _stages(model)

    def features(self, images: Tensor) -> Tensor:
        """Target feature map (B,N,P,Q) of normalised images (B,3,R,R); behind the context of a class-token head.

        Images are resized to ``input_size`` first, where the network has one.

        Raises:
            ValueError: A transformer without one is given images of another size than it was built for.
        """
        images = self.at_own_size(images)
        if self.input_size is None and self.layout.kind == "tokens" and images.shape[-2:] != (PROBE_SIZE, PROBE_SIZE):
            size = "×".join(str(n) for n in images.shape[-2:])
            raise ValueError(f"{self.name} is built for images of {PROBE_SIZE}×{PROBE_SIZE} pixels, got {size}")
        raw: Tensor = self.model.forward_features(images)  # type: ignore[operator]
        if self.tap is None or self.normalisation is None:
            return self.layout.feature_map(raw)
        tokens = self.tap.take()
        return packed_features(tokens, self.normalisation, self.prefix_tokens)

    def lacks(self, part: Literal["attention", "semantic", "layer_logits"]) -> str | None:
        """Why the network has no attention, no token-semantic head, no logits of its blocks; None where it has."""
        if part == "attention":
            return self._attention_refusal
        if part == "layer_logits":
            return self._attention_refusal or self._layer_refusal
        head = self.heads["softmax"]
        if not isinstance(head, TokenHead):
            return "it has no class token that decides"
        return "its last block returns the class token alone" if head.tail.split else None

    def attention(self, images: Tensor) -> Tensor:
        """Attention (L,B,T,T) of every layer, mean of its heads; one forward with fused attention switched off."""
        if self._attention_refusal is not None:
            raise TypeError(f"{self.name} has no attention to read: {self._attention_refusal}")
        return torch.stack(self._matrices(images))

    def token_blocks(self, head: Head) -> list[nn.Module]:
        """The transformer blocks in the order in which they run under ``head``; TypeError without attention."""
        if self._attention_refusal is not None:
            raise TypeError(f"{self.name} has no attention to read: {self._attention_refusal}")
        return self._blocks_under(head)

    def layer_logits(self, tokens: Tensor, head: Head) -> Tensor:
        """Logits (B,C) of a block's tokens (B,T,N), as if it were the last block's: final normalisation, ``head``."""
        if isinstance(head, TokenHead | SemanticHead):
            return head.read(head.tail.norm(tokens))
        final: Tensor = cast(nn.Module, self.model.norm)(tokens)
        logits: Tensor = head(self.layout.feature_map(final))
        return logits

    def fresh_head(
        self, branch: Branch, generator: torch.Generator | None = None, num_classes: int | None = None
    ) -> Head:
        """An untrained head for a branch; the token-semantic one reads the softmax head's tail."""
        if branch != "semantic" or self.lacks("semantic") is not None:
            return super().fresh_head(branch, generator, num_classes)
        like = cast(TokenHead, self.heads["softmax"])
        classes = num_classes or self.num_classes
        head = SemanticHead(copy.deepcopy(like.tail), like.context_rows, self.channels, classes)
        reset(head.convolution, generator)
        return cast(Head, head.to(self.mean.device).requires_grad_(True))

    @cached_property
    def _attention_refusal(self) -> str | None:
        layers = attention_layers(self._blocks)
        if not layers:
            return super().lacks("attention")
        found = self._matrices(self.mean.new_zeros(1, self.image_channels, PROBE_SIZE, PROBE_SIZE))
        tokens = self.prefix_tokens + self.grid[0] * self.grid[1]
        if len(found) != len(self._blocks) or any(a.shape[1:] != (tokens, tokens) for a in found):
            return "not every layer attends over all patch tokens"
        return None

    @cached_property
    def _layer_refusal(self) -> str | None:
        """Why the head's logits are not those of the last block's tokens, as ``layer_logits`` reads them; or None."""
        head, found = self.head("softmax"), list[Tensor]()
        handle = self._blocks[-1].register_forward_hook(lambda _, __, out: found.append(out))
        try:
            with torch.no_grad():
                logits = self(self.mean.new_zeros(1, self.image_channels, PROBE_SIZE, PROBE_SIZE))
                same = close(self.layer_logits(found[0], head), logits)
        except (AttributeError, RuntimeError, TypeError):
            same = False
        finally:
            handle.remove()
        return None if same else "its logits do not follow from the last block's tokens by one normalisation and a head"

    @property
    def _blocks(self) -> list[nn.Module]:
        return self._blocks_under(self.head("softmax"))

    def _blocks_under(self, head: Head) -> list[nn.Module]:
        last = [head.tail.block] if isinstance(head, TokenHead | SemanticHead) else []
        blocks = getattr(self.model, "blocks", None)
        if not isinstance(blocks, nn.ModuleList | nn.Sequential):
            # Stages of several resolutions: no token is the same in all layers.
            return []
        return [b for b in blocks if not isinstance(b, Tap)] + last

    def _matrices(self, images: Tensor) -> list[Tensor]:
        return read_attention(attention_layers(self._blocks), lambda: self(images))

    def _split_tokens(
        self, model: nn.Module, raw: Tensor, body: list[Call], in_body: set[str], in_head: set[str]
    ) -> TokenHead:
        """The head of a class-token network: its last block and what follows; the body keeps the rest."""
        prefix, patches = self.layout.prefix, raw.shape[1] - self.layout.prefix
        found = last_block(model)
        made = [c for c in body if found is not None and c.module is found[1]]
        if found is None or len(made) != 1:
            raise self._no_gradient("its last block does not begin with one normalisation")
        place, block = found
        shapes = [tuple(t.shape[1:2]) if isinstance(t, Tensor) else None for t in made[0].given]
        if not patches and len(shapes) == 1 and shapes[0]:
            patches = shapes[0][0] - prefix
        if math.isqrt(patches) ** 2 != patches or shapes not in ([(prefix + patches,)], [(patches,), (prefix,)]):
            raise self._no_gradient("its last block takes other tensors than its tokens")
        parent, _, leaf = place.rpartition(".")
        self.feature_layer, self.tap = f"{place}.norm1", Tap()
        self.normalisation = cast(nn.Module, block.norm1)
        tail = Tail(block, cast(nn.Module, model.norm), prefix, patches, len(shapes) == 2, made[0].options)
        setattr(model.get_submodule(parent), leaf, self.tap)
        model.norm = nn.Identity()
        net = _forward_head_alone(model, in_body - {"norm"}, in_head)
        return TokenHead(
            tail, net, rows_of(tail.context, math.isqrt(patches)), self.num_classes, classifier_names(model)
        )

    def _no_gradient(self, reason: str) -> UnsupportedNetworkError:
        return unsupported(
            self.name,
            f"its head reads the class token, so the patch tokens of the last layer get no gradient, and {reason}; "
            "ViT, DeiT, EVA, CaiT, XCiT, VOLO, PiT and networks that average their tokens work",
        )

    def _split(self, model: nn.Module, raw: Tensor, in_body: set[str], in_head: set[str]) -> Head:
        """The head as a module of its own; its layers leave ``model``."""
        features = self.layout.feature_map(raw)
        averages = _averages(model, raw, features)
        classifier = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]
        whole = ForwardHead(_forward_head_alone(model, in_body, in_head), self.layout)
        if averages and isinstance(classifier, nn.Linear | nn.Conv2d):
            gap = gap_linear_of(classifier)
            if close(gap(features), whole(features)):
                return gap
        return ModuleHead(whole, self.num_classes, tuple(f"net.{n}" for n in classifier_names(model)))


def _stages(model: nn.Module) -> tuple[str, ...]:
    """Layers that timm names as feature maps of several resolutions."""
    info = getattr(model, "feature_info", None)
    entries = getattr(info, "info", info) or ()
    names = (entry.get("module", "") for entry in entries)
    inside = {name for name, _ in model.named_modules() if name}
    return tuple(f"model.{name}" for name in names if name in inside)


def _children(seen: Iterable[Call]) -> set[str]:
    return {call.name.split(".")[0] for call in seen}


def _forward_head_alone(model: nn.Module, in_body: set[str], in_head: set[str]) -> nn.Module:
    """The model with nothing but what its ``forward_head`` calls; what only that calls leaves ``model``."""
    memo: dict[int, Any] = {id(p): None for p in model.parameters(recurse=False)}
    for name, child in model.named_children():
        if name not in in_head:
            memo[id(child)] = nn.Identity()
        elif name not in in_body:
            memo[id(child)] = child
    net = copy.deepcopy(model, memo)
    for name in in_head - in_body:
        setattr(model, name, nn.Identity())
    return net


def _forward_features(model: nn.Module, probe: Tensor, name: str) -> Tensor:
    if not hasattr(model, "forward_features") or not hasattr(model, "forward_head"):
        raise unsupported(name, "it has no forward_features and forward_head")
    try:
        raw = model.forward_features(probe)  # type: ignore[operator]
    except (AssertionError, RuntimeError, ValueError) as error:
        size = "×".join(map(str, probe.shape[-2:]))
        why = str(error) or type(error).__name__
        raise unsupported(name, f"it does not take images of {size} pixels ({why})") from error
    if not isinstance(raw, Tensor):
        raise unsupported(name, f"forward_features returns a {type(raw).__name__}, not one feature map")
    return raw


def _forward_head(model: nn.Module, raw: Tensor, name: str) -> object:
    try:
        return model.forward_head(raw)  # type: ignore[operator]
    except (NotImplementedError, ValueError) as error:
        raise unsupported(name, f"it has no head that gives logits ({error})") from error


def _pre_logits(model: nn.Module, raw: Tensor) -> Tensor:
    try:
        out: Tensor = model.forward_head(raw, pre_logits=True)  # type: ignore[operator]
    except TypeError:
        out = model.forward_head(raw)  # type: ignore[operator]
    return out


def _reads_prefix(model: nn.Module, raw: Tensor, layout: TimmLayout) -> bool:
    """Whether the head reads more than the map: a class token."""
    if layout.prefix == 0:
        return False
    return not close(_pre_logits(model, raw), _pre_logits(model, layout.restore(layout.feature_map(raw))))


def _averages(model: nn.Module, raw: Tensor, features: Tensor) -> bool:
    """Whether the head averages the map and nothing else before its classifier."""
    return close(_pre_logits(model, raw), features.mean((-2, -1)))
