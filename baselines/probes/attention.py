"""Attention matrices of transformer blocks, read on timm's explicit path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def attention_layers(blocks: Sequence[nn.Module]) -> list[nn.Module]:
    """The attention layers inside the blocks that have a fused and an explicit path."""
    layers = [m for block in blocks for m in block.modules()]
    return [m for m in layers if isinstance(getattr(m, "fused_attn", None), bool) and hasattr(m, "attn_drop")]


@contextmanager
def explicit_path(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Attention by its own matrix product and softmax inside the block; afterwards as it was before."""
    before = [bool(layer.fused_attn) for layer in layers]
    try:
        for layer in layers:
            layer.fused_attn = False  # type: ignore[assignment]
        yield
    finally:
        for layer, fused in zip(layers, before, strict=True):
            layer.fused_attn = fused  # type: ignore[assignment]


@torch.no_grad()
def read_attention(layers: Sequence[nn.Module], forward: Callable[[], object]) -> list[Tensor]:
    """Softmax matrices (B,T,T), mean over heads, one for each call of a layer, in the order of the calls.

    The matrices are averaged as they come: no more than one layer's heads are held at a time.
    """
    found: list[Tensor] = []

    def note(_: nn.Module, __: object, out: Tensor) -> None:
        found.append(out.mean(1))

    handles = [getattr(layer, "attn_drop").register_forward_hook(note) for layer in layers]  # noqa: B009
    try:
        with explicit_path(layers):
            forward()
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def differentiable_attention(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Softmax matrices (B,heads,T,T) of every call while the context lasts, with gradients enabled.

    What follows depends on them in the graph. The network needs no parameter, and no input, that requires a gradient.
    """
    found: list[Tensor] = []

    def note(_: nn.Module, __: object, out: Tensor) -> Tensor:
        found.append(out if out.requires_grad else out.detach().requires_grad_())
        return found[-1]

    handles = [getattr(layer, "attn_drop").register_forward_hook(note) for layer in layers]  # noqa: B009
    try:
        with explicit_path(layers), torch.enable_grad():
            yield found
    finally:
        for handle in handles:
            handle.remove()
