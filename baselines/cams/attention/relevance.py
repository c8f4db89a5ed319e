"""Relevance through a transformer block, from its output to its input (Chefer et al., CVPR 2021, §3.1 and §3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TINY = 1e-9
"""Added to a divisor in the direction of its sign."""


@dataclass
class BlockRecord:
    """What a block's layers were given and made, by their names; ``A`` is the attention (B,heads,T,T)."""

    block: nn.Module
    given: dict[str, Tensor] = field(default_factory=dict)
    made: dict[str, Tensor] = field(default_factory=dict)


_WATCHED = ("", "attn.qkv", "attn.q_norm", "attn.k_norm", "attn.attn_drop", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
_ADDED = ("drop_path1", "drop_path2")


def unruly(block: nn.Module) -> str | None:
    """What of a block has no rule, in words; None for timm's plain block (norm, attention, norm, MLP)."""
    from timm.layers import Attention, Mlp
    from timm.models.vision_transformer import Block

    if type(block) is not Block:
        return f"blocks of the type {type(block).__name__}"
    for part, plain in ((block.attn, Attention), (block.mlp, Mlp)):
        if type(part) is not plain:
            return f"{type(part).__name__} layers"
        if not isinstance(part.norm, nn.Identity) or getattr(part, "gate", None) is not None:
            return f"a normalisation or a gate inside {type(part).__name__}"
    return None


@contextmanager
def recorded(blocks: Sequence[nn.Module]) -> Iterator[list[BlockRecord]]:
    """What the layers of the blocks are given and make while the context lasts, without graph."""
    records = [BlockRecord(block) for block in blocks]
    handles = []
    for record in records:
        for name in (*_WATCHED, *_ADDED):

            def note(_: nn.Module, given: Any, made: Tensor, record: BlockRecord = record, name: str = name) -> None:
                record.given[name], record.made[name] = given[0].detach(), made.detach()

            handles.append(record.block.get_submodule(name).register_forward_hook(note))
    try:
        yield records
    finally:
        for handle in handles:
            handle.remove()


def through_block(record: BlockRecord, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance (B,T,N) of a block's input, and that of its attention (B,heads,T,T), from that of its output.

    Normalisations, activations, softmax, dropout and layer scale pass relevance as it is.
    """
    made, layer = record.made, record.block.get_submodule
    skipped, branch = through_sum(made["drop_path1"] + record.given[""], made["drop_path2"], relevance)
    for name in ("mlp.fc2", "mlp.fc1"):
        branch = through_linear(record.given[name], cast(nn.Linear, layer(name)).weight, branch)
    skipped, branch = through_sum(record.given[""], made["drop_path1"], skipped + branch)
    branch = through_linear(record.given["attn.proj"], cast(nn.Linear, layer("attn.proj")).weight, branch)
    branch, attention = _through_attention(record, branch)
    branch = through_linear(record.given["attn.qkv"], cast(nn.Linear, layer("attn.qkv")).weight, branch)
    return skipped + branch, attention


def _through_attention(record: BlockRecord, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance (B,T,3·N) of queries, keys and values, and of the attention, from that of its values' sums (B,T,N)."""
    attention = record.made["attn.attn_drop"]
    batch, heads, tokens, _ = attention.shape
    values = record.made["attn.qkv"].reshape(batch, tokens, 3, heads, -1)[:, :, 2].transpose(1, 2)
    per_head = relevance.reshape(batch, tokens, heads, -1).transpose(1, 2)
    of_attention, of_values = through_product(attention, values, per_head)
    queries = record.made["attn.q_norm"] * cast(float, record.block.attn.scale)  # type: ignore[union-attr]
    of_queries, of_keys = through_product(queries, record.made["attn.k_norm"].mT, of_attention)
    parts = torch.stack((of_queries, of_keys.mT, of_values), 2)
    return parts.permute(0, 3, 2, 1, 4).flatten(2), of_attention


def through_linear(given: Tensor, weight: Tensor, relevance: Tensor) -> Tensor:
    """Relevance of a linear layer's input x: Σ_i [x_j·w_ij ≥ 0]·x_j·w_ij / Σ_j' (the same)·R_i (Eq. 6)."""
    up, down = weight.clamp_min(0), weight.clamp_max(0)
    positive, negative = given.clamp_min(0), given.clamp_max(0)
    share = relevance / _apart_from_zero(F.linear(positive, up) + F.linear(negative, down))
    return positive * (share @ up) + negative * (share @ down)


def through_product(left: Tensor, right: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of both factors of left @ right, normalised (Eqs. 8 and 9)."""
    share = relevance / _apart_from_zero(left @ right)
    return _normalised(left * (share @ right.mT), right * (left.mT @ share), relevance)


def through_sum(left: Tensor, right: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Relevance of both terms of left + right, normalised (Eqs. 8 and 9)."""
    share = relevance / _apart_from_zero(left + right)
    return _normalised(left * share, right * share, relevance)


def _normalised(left: Tensor, right: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Both parts, an image's sums scaled to the ratio of their magnitudes, so that they add up to the relevance."""
    sums = [part.flatten(1).sum(1) for part in (left, right, relevance)]
    size = sums[0].abs() + sums[1].abs()
    scales = (s.abs() / _apart_from_zero(size) * sums[2] / _apart_from_zero(s) for s in sums[:2])
    first, second = (scale.view(-1, *(1,) * (left.ndim - 1)) for scale in scales)
    return left * first, right * second


def _apart_from_zero(divisor: Tensor) -> Tensor:
    return divisor + torch.where(divisor < 0, -TINY, TINY)
