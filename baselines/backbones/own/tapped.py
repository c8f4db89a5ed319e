"""A whole network, read and changed at one of its layers by hooks: no forward is rewritten.

``read`` stops a forward at the layer and gives its feature map; ``replaced`` runs a forward in which the layer gives
another map. Both are functions of the network as it is, whatever it does around the layer.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...heads.readings import EPS, LayerOutput, logits_of_softmax
from ..timm.layout import TimmLayout, unsupported
from .function_parts import rebound
from .outputs import described, first_tensor, with_first


@dataclass(frozen=True)
class ReadPoint:
    """Where a network is read.

    Attributes:
        layer: Qualified name of the layer.
        call: Which of the layer's calls in one forward, from 1.
        layout: How its output maps to (B,N,P,Q).
    """

    layer: str
    call: int
    layout: TimmLayout


class _ReachedError(Exception):
    """The layer has given its output: the rest of the forward is not needed."""


class CalledNetwork(nn.Module):
    """A network and how it is called: images in, logits (B,C) out.

    Args:
        net: The network, which cambench may change.
        inputs: Normalised images (B,C,R,R) to what the network is called with: a tensor, a tuple of positional
            arguments, or a mapping of named ones.
        logits: The network's output to logits (B,C), or (B,).
    """

    def __init__(self, net: nn.Module, inputs: Callable[[Tensor], Any] | None, logits: Callable[[Any], Any]) -> None:
        super().__init__()
        self.net, self._inputs, self._logits = net, inputs, logits
        self.of_probabilities = False
        """The network ends in a sigmoid: what it returns is read as the logits behind it."""
        self.before_softmax: str | None = None
        """It ends in a softmax of this layer's outputs, which are the logits; empty: log p is read as them."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,C) of normalised images (B,C,R,R)."""
        if self.before_softmax is None:
            return self.picked(self.output(images), len(images))
        with LayerOutput(self.net, self.before_softmax) as made:
            scores = self.picked(self.output(images), len(images))
        logits = logits_of_softmax(scores, [t for t in map(first_tensor, made) if t is not None])
        return logits if _autocasts(logits) else logits.float()

    def picked(self, out: Any, count: int) -> Tensor:
        """Logits (B,C) in what the network returns of ``count`` images; whatever the user's function makes of it."""
        logits: Any = self._logits(out)
        if isinstance(logits, Tensor) and logits.ndim < 2 and (count == 1 or logits.numel() == count):
            # One logit an image, or a network that squeezes a single image's.
            logits = logits.reshape(count, -1)
        if isinstance(logits, Tensor) and logits.is_floating_point() and not _autocasts(logits):
            logits = logits.float()
        made: Tensor = torch.logit(logits, eps=EPS) if self.of_probabilities else logits
        return made

    def output(self, images: Tensor) -> Any:
        """What the network returns."""
        given = images if self._inputs is None else self._inputs(images)
        if isinstance(given, Mapping):
            return self.net(**given)
        return self.net(*given) if isinstance(given, tuple | list) else self.net(given)

    def __deepcopy__(self, memo: dict[int, Any]) -> CalledNetwork:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        nn.Module.__init__(made)

        def swap(module: nn.Module) -> nn.Module:
            return copy.deepcopy(module, memo)

        made.net = swap(self.net)
        made.of_probabilities, made.before_softmax = self.of_probabilities, self.before_softmax
        made._inputs, made._logits = rebound(self._inputs, swap), rebound(self._logits, swap)
        return made.train(self.training)

    def read(self, images: Tensor, tap: ReadPoint) -> Tensor:
        """The layer's feature map (B,N,P,Q); the forward ends there."""
        found: list[Tensor] = []

        def hook(_: nn.Module, __: Any, out: Any) -> None:
            found.append(_tensor(out, tap))
            if len(found) == tap.call:
                raise _ReachedError(found)

        handle = self.net.get_submodule(tap.layer).register_forward_hook(hook)
        try:
            self(images)
        except _ReachedError as reached:
            # A network that is read in this way itself stops at its own layer only.
            if reached.args[0] is not found:
                raise
        finally:
            handle.remove()
        made = tap.layout.feature_map(found[tap.call - 1])
        return made if _autocasts(made) else made.float()

    def replaced(self, images: Tensor, features: Tensor, tap: ReadPoint) -> Tensor:
        """Logits (B,C) where the layer gives ``features`` (B,N,P,Q) in the place of its own map of the images.

        Tokens before the patch tokens stay those of the images.
        """
        count = 0

        def hook(_: nn.Module, __: Any, out: Any) -> Any:
            nonlocal count
            count += 1
            # A copy goes on, so that work in place spares the features, which all methods share.
            return with_first(out, _put(_tensor(out, tap), features.clone(), tap.layout)) if count == tap.call else out

        handle = self.net.get_submodule(tap.layer).register_forward_hook(hook)
        try:
            logits: Tensor = self(images)
        finally:
            handle.remove()
        return logits


def _tensor(out: Any, tap: ReadPoint) -> Tensor:
    found = first_tensor(out)
    if found is None:
        raise TypeError(f"the layer {tap.layer} returns {described(out)}; expected a feature map")
    return found


def _autocasts(made: Tensor) -> bool:
    """Whether the caller computes in another precision; what a network's own forward does of the kind is its own."""
    return torch.is_autocast_enabled(made.device.type)


def _put(own: Tensor, features: Tensor, layout: TimmLayout) -> Tensor:
    """The layer's output with ``features`` in the place of its map."""
    made = layout.restore(features)
    if not _autocasts(own):
        made = made.to(own.dtype)
    return torch.cat((own[:, : layout.prefix], made[:, layout.prefix :]), 1) if layout.prefix else made


Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]
"""Name of a layer -> dtype and shape (…, without the batch) of what it returns."""


@contextmanager
def skipped(net: nn.Module, shapes: Shapes, like: Tensor) -> Iterator[None]:
    """Layers that do not run while the context lasts, and return zeros in their outputs' shapes instead.

    Args:
        net: The network, of whose modules none is shared with another.
        shapes: The layers, and what they return of an image.
        like: A tensor (B,…) of the batch that is run.
    """
    before = {name: net.get_submodule(name).__dict__.get("forward") for name in shapes}
    try:
        for name, (dtype, shape) in shapes.items():
            zeros = torch.zeros((), dtype=dtype, device=like.device).expand(len(like), *shape)
            net.get_submodule(name).__dict__["forward"] = lambda *_, zeros=zeros, **__: zeros
        yield
    finally:
        for name, own in before.items():
            module = net.get_submodule(name)
            if own is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own


def layout_of_map(raw: Tensor | None, prefix: int | None, name: str, layer: str) -> TimmLayout:
    """How a layer's output (2,…) lies in memory.

    Args:
        raw: The output's tensor, of two images. prefix: Tokens before the patch tokens; found where None.
        name: Of the network. layer: Of the layer.

    Raises:
        UnsupportedNetworkError: It is no feature map of several cells.
    """
    shape = () if raw is None else tuple(raw.shape)
    expected = "expected a feature map (B,N,P,Q), (B,P,Q,N) or tokens (B,T,N)"
    if raw is None or raw.ndim not in (3, 4) or raw.shape[0] != 2 or not raw.is_floating_point():
        found = f"a tensor of shape {shape}" if raw is not None else "no tensor"
        raise unsupported(name, f"the layer {layer} returns {found} for two images; {expected}")
    if raw.ndim == 4:
        last = shape[1] == shape[2] != shape[3]
        if (shape[1:3] if last else shape[2:]) == (1, 1):
            raise unsupported(
                name, f"the layer {layer} returns shape {shape}: one cell is no map; name a layer before the pooling"
            )
        return TimmLayout("nhwc" if last else "nchw")
    tokens = shape[1]
    side = int((tokens if prefix is None else tokens - prefix) ** 0.5)
    prefix = tokens - side * side if prefix is None else prefix
    if side < 2 or side * side != tokens - prefix:
        raise unsupported(
            name,
            f"the {tokens} tokens of the layer {layer} form no square map behind {prefix} others; give "
            "prefix_tokens=…, the number of class and register tokens",
        )
    return TimmLayout("tokens", prefix)
