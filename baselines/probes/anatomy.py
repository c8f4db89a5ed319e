"""What a network is made of, as one probe forward finds it: for methods that work layer by layer.

DeepLIFT, LRP, guided back-propagation and FullGrad change or read what each *module* does. An activation that is a
function call, or a module that is called twice, escapes them without an error; here it is found before a run starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ..contracts import Backbone
from .explained import explained, explained_head
from .in_place import overwritten

PROBE_SIZE = 224
"""Side of the probe image in pixels."""
LINEAR_OPS = frozenset({"add", "sub", "mean", "avg_pool2d", "_adaptive_avg_pool2d", "constant_pad_nd", "cat", "stack"})
"""Operations outside any layer that are linear in the activations."""
_MOVES = frozenset(
    {
        *("view", "reshape", "_unsafe_view", "permute", "transpose", "t", "slice"),
        *("select", "split", "chunk", "unbind", "expand", "clone", "detach", "contiguous", "_to_copy"),
        *(
            "alias",
            "squeeze",
            "unsqueeze",
            "copy_",
            "lift_fresh",
            "as_strided",
            "split_with_sizes",
            "empty_like",
            "new_zeros",
        ),
        *("zeros", "empty", "zeros_like", "arange"),
    }
)
"""Operations that only move values."""


@dataclass(frozen=True)
class Anatomy:
    """Layers that ran, and what ran outside them.

    Attributes:
        layers: Layers (modules without children) in the order of their first call, by qualified name.
        reused: Names of layers that were called more than once.
        functional: Names of the operations that no layer owns and that do more than move values.
        failure: Why the network cannot be followed; empty where it can.
        overwritten: What the network overwrites although the gradient of the image needs it; empty where nothing.
    """

    layers: dict[str, nn.Module]
    reused: frozenset[str]
    functional: frozenset[str]
    failure: str = ""
    overwritten: str = ""


_KNOWN: WeakKeyDictionary[Backbone, Anatomy] = WeakKeyDictionary()
_KNOWN_HEADS: WeakKeyDictionary[Backbone, Anatomy] = WeakKeyDictionary()


def anatomy(backbone: Backbone) -> Anatomy:
    """Anatomy of a network and its softmax head; kept, so that each network is probed once."""
    if backbone not in _KNOWN:
        _KNOWN[backbone] = _probe(explained(backbone, backbone.head("softmax")), _probe_image(backbone))
    return _KNOWN[backbone]


def head_anatomy(backbone: Backbone) -> Anatomy:
    """Anatomy of a network's softmax head alone, from the target features on; kept, as ``anatomy``."""
    if backbone not in _KNOWN_HEADS:
        with torch.no_grad():
            features = backbone.features(_probe_image(backbone))
        _KNOWN_HEADS[backbone] = _probe(explained_head(backbone, backbone.head("softmax")), features)
    return _KNOWN_HEADS[backbone]


def _probe_image(backbone: Backbone) -> Tensor:
    return backbone.mean.new_zeros(1, backbone.image_channels, PROBE_SIZE, PROBE_SIZE)


def _probe(net: nn.Module, given: Tensor) -> Anatomy:
    mode = _Recorder()
    try:
        with torch.no_grad(), _followed(net, mode), mode:
            net(given)
    except Exception as error:  # the network's own code: whatever it raises is the reason
        return Anatomy({}, frozenset(), frozenset(), f"a probe forward fails ({type(error).__name__}: {error})")
    layers = {name: net.get_submodule(name) for name in mode.calls}
    reused = frozenset(name for name, count in mode.calls.items() if count > 1)
    lost = (overwritten(net, given) or "").replace(" body.", " ") if mode.in_place else ""
    return Anatomy(layers, reused, frozenset(mode.functional), overwritten=lost)


class _Recorder(TorchDispatchMode):
    """Calls of layers, operations while none is running, and whether any operation works in place."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: dict[str, int] = {}
        self.functional: set[str] = set()
        self.depth = 0
        self.in_place = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.in_place |= name.endswith("_") and name not in _MOVES
        if not self.depth and name.rstrip("_") not in _MOVES and name not in _MOVES:
            self.functional.add(name.rstrip("_"))
        return func(*args, **(kwargs or {}))


@contextmanager
def _followed(net: nn.Module, recorder: _Recorder) -> Iterator[None]:
    def enter(name: str) -> Any:
        def hook(*_: Any) -> None:
            recorder.calls[name] = recorder.calls.get(name, 0) + 1
            recorder.depth += 1

        return hook

    def leave(*_: Any) -> None:
        recorder.depth -= 1

    handles = []
    for name, module in net.named_modules():
        if next(module.children(), None) is None:
            handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
