"""Basins of a batch of maps and the levels at which they join, as tensor operations."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .pointers import FRAME, ascend, resolve, select

MAX_BASINS = 64
"""Basins after plateaus are merged; a map with more is left to the CPU kernels."""
MAX_RAW = 512
"""Peaks before plateaus are merged."""
MAX_JOINS = 1024
"""Pixels that join basins, beside those of the border."""
ROUNDS = 4
"""Rounds of merging plateaus; what they leave is a basin of no height, which costs room but changes nothing."""
_EIGHT = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
_FOUR = ((-1, 0), (0, -1), (0, 1), (1, 0))
_RANK_BITS = 10


class Basins(NamedTuple):
    """The merge tree of a batch, basins from the highest peak to the lowest; K = ``MAX_BASINS``.

    ``label`` int64 (B,N): basin of every pixel (N = H·W), K where the value is 0. ``peak`` int32 (B,K): its highest
    value, 0 for a slot without a basin. ``joined`` int32 (B,K,K): the highest value at which two basins are connected.
    ``many`` bool (B,): more peaks, joins or basins than there is room for; such a map's rows mean nothing.
    """

    label: Tensor
    peak: Tensor
    joined: Tensor
    many: Tensor


def find_basins(values: Tensor, holes: bool) -> Basins:
    """Basins of 8-connected maps, or with ``holes`` of 4-connected backgrounds whose basin 0 is the frame.

    Args:
        values: int32 (B,H,W), 0 to 255.
        holes: As of ``ascend``.
    """
    top, peaks, joins, far = ascend(values, holes)
    count, nodes = peaks.shape
    numbers = peaks.cumsum(1, dtype=torch.int32)
    order = torch.arange(MAX_RAW, dtype=torch.int32, device=values.device)
    node = _places(numbers, MAX_RAW).clamp(max=nodes - 1)
    height = torch.cat([values.flatten(1), torch.full((count, 1), FRAME, dtype=torch.int32, device=values.device)], 1)
    raw_peak = torch.where(order < numbers[:, -1:], height.gather(1, node), 0)
    a, b, saddle, crowded = _edges(values, holes, joins, top, numbers)
    merged = _merge_plateaus(a, b, saddle, raw_peak)
    kept = (merged == order) & (raw_peak > 0)
    many = far | crowded | (numbers[:, -1] > MAX_RAW) | (kept.sum(1) > MAX_BASINS)
    chosen = torch.where(kept, (raw_peak << _RANK_BITS) | (MAX_RAW - 1 - order), -1).topk(MAX_BASINS, 1).indices
    slots = torch.arange(MAX_BASINS, dtype=torch.int32, device=values.device).expand(count, -1)
    rank = torch.full_like(merged, MAX_BASINS).scatter_(1, chosen, slots)
    rank = torch.where(kept, rank, MAX_BASINS).gather(1, merged.long())
    peak = torch.where(kept, raw_peak, 0).gather(1, chosen)
    joined = _joined(rank.gather(1, a).long(), rank.gather(1, b).long(), saddle)
    # A slot without a peak repeats the last node, whose rank is written by the one that has it.
    ranks = torch.full_like(top, MAX_BASINS).scatter_reduce_(1, node, rank, "amin")
    label = torch.where(values.flatten(1) > 0, select(ranks, top[:, :-1]), MAX_BASINS)
    return Basins(label.long(), peak, joined, many)


def _places(numbers: Tensor, room: int) -> Tensor:
    """Where a running count int32 (B,N) first reaches 1 … ``room``: int64 (B,room), N where it never does."""
    wanted = torch.arange(1, room + 1, dtype=torch.int32, device=numbers.device).expand(len(numbers), -1)
    return torch.searchsorted(numbers, wanted.contiguous())


def _edges(
    values: Tensor, holes: bool, joins: Tensor, top: Tensor, numbers: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Edges between raw basins at the joins: two int64 (B,E) of basins, their saddles int32 (B,E), too many (B,)."""
    _, height, width = values.shape
    nodes = height * width
    room = min(nodes, MAX_JOINS + (2 * (height + width) if holes else 0))
    seen = joins.cumsum(1, dtype=torch.int32)
    place = _places(seen, room)
    found = place < nodes
    place = place.clamp(max=nodes - 1)

    def raw(pixels: Tensor) -> Tensor:
        return numbers.gather(1, top.gather(1, pixels).long()).clamp(1, MAX_RAW).long() - 1

    flat = values.flatten(1)
    value, y, x = flat.gather(1, place), place // width, place % width
    own = raw(place)
    others, saddles = [], []
    for dy, dx in _FOUR if holes else _EIGHT:
        ny, nx = y + dy, x + dx
        inside = found & (ny >= 0) & (ny < height) & (nx >= 0) & (nx < width)
        near = torch.where(inside, ny * width + nx, place)
        other = flat.gather(1, near)
        higher = inside & ((other >= value) if (dy, dx) > (0, 0) else (other > value))
        others.append(torch.where(higher, raw(near), own))
        saddles.append(torch.where(higher, value, 0))
    first = own[:, None].expand(-1, len(others), -1).flatten(1)
    return first, torch.stack(others, 1).flatten(1), torch.stack(saddles, 1).flatten(1), seen[:, -1] > room


def _merge_plateaus(a: Tensor, b: Tensor, saddle: Tensor, peak: Tensor) -> Tensor:
    """Raw basin int32 (B,R) that each becomes a part of: one whose saddle is its own peak never stands alone."""
    order = torch.arange(peak.shape[1], dtype=torch.int32, device=peak.device)
    key = (peak << _RANK_BITS) | order
    merged = order.expand_as(peak).contiguous()
    for _ in range(ROUNDS):
        ra, rb = merged.gather(1, a).long(), merged.gather(1, b).long()
        ka, kb = key.gather(1, ra), key.gather(1, rb)
        low, high = torch.where(ka < kb, ra, rb), torch.maximum(ka, kb)
        flat = (saddle == (torch.minimum(ka, kb) >> _RANK_BITS)) & (ka != kb)
        into = key.clone().scatter_reduce_(1, low, torch.where(flat, high, 0), "amax")
        merged = resolve(into & ((1 << _RANK_BITS) - 1)).gather(1, merged.long())
    return merged


def _joined(a: Tensor, b: Tensor, saddle: Tensor) -> Tensor:
    """Highest value int32 (B,K,K) at which two basins are connected: the max-min closure of their saddles."""
    side = MAX_BASINS + 1
    direct = torch.zeros(len(a), side * side, dtype=torch.int32, device=a.device)
    direct.scatter_reduce_(1, a * side + b, saddle, "amax").scatter_reduce_(1, b * side + a, saddle, "amax")
    joined = direct.view(-1, side, side)[:, :-1, :-1].to(torch.int16).contiguous()
    through = torch.empty_like(joined)
    # In place: what leads through a basin changes neither its row nor its column.
    for column, row in zip(joined[:, :, None].unbind(3), joined[:, None].unbind(2), strict=True):
        torch.minimum(column, row, out=through)
        torch.maximum(joined, through, out=joined)
    return joined.to(torch.int32)
