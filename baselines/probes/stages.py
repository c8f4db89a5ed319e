"""Feature maps of several layers: the last one of each resolution, and the target feature map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..contracts import Backbone

PROBE_SIZE = 224
_KNOWN: WeakKeyDictionary[Backbone, tuple[str, ...]] = WeakKeyDictionary()


def stage_layers(backbone: Backbone) -> tuple[str, ...]:
    """Names of the layers whose outputs are the stages, the target layer's stage left out; empty where unknown.

    A network may state them (``Backbone.stages``). Otherwise they are found in a body that is a chain of layers: the
    last one of each resolution that is finer than the target's.
    """
    if backbone not in _KNOWN:
        _KNOWN[backbone] = _finer(backbone, backbone.stages or tuple(_chain(backbone, "body")))
    return _KNOWN[backbone]


@contextmanager
def outputs(net: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Tensors that the named layers make while the context lasts; a copy goes on, so in-place work spares them.

    Layers that return something else are left out.
    """
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, given: Any, made: Any) -> Any:
            del module, given
            if not isinstance(made, Tensor):
                # Several maps at once (HRNet's stages, SelecSLS): none of them is the layer's.
                return made
            found[name] = made
            return made.clone()

        return hook

    handles = [net.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _chain(net: nn.Module, name: str) -> Iterator[str]:
    """Layers in the order of a chain of chains."""
    part = net.get_submodule(name) if name in dict(net.named_children()) or "." in name else None
    if isinstance(part, nn.Sequential):
        for child, _ in part.named_children():
            yield from _chain(net, f"{name}.{child}")
    elif part is not None:
        yield name


def _finer(backbone: Backbone, names: tuple[str, ...]) -> tuple[str, ...]:
    like = backbone.mean
    image = torch.zeros(1, backbone.image_channels, PROBE_SIZE, PROBE_SIZE, dtype=like.dtype, device=like.device)
    with torch.no_grad(), outputs(backbone, names) as found:
        target = backbone.features(image)
    last: dict[int, str] = {}
    for name in names:
        made = found.get(name)
        # By octaves: convolutions without padding trim a map (111, 109) and begin no new stage.
        if isinstance(made, Tensor) and made.ndim == 4 and _octave(made) > _octave(target):
            last[_octave(made)] = name
    return tuple(last[octave] for octave in sorted(last, reverse=True))


def _octave(features: Tensor) -> int:
    return round(math.log2(features.shape[-1]))
