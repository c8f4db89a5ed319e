"""Peaks of a batch of maps, the pixels that join them, and the peak above every pixel, as tensor operations.

The order and the marks are those of algorithm B (``kernels.ascent``): pixels are ordered by (value, index), so that no
two are equal. Nothing here depends on the values by its shape, so a device never waits for the host.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

INDEX_BITS = 19
"""A key is value << 19 | pixel index: sides up to 512, and one index more for the frame."""
FRAME = 256
"""Value of the frame around a background, higher than every pixel."""


STRIDES = 9
"""Rounds of following pointers: paths of up to 512 pixels. A map with a longer one is left to the CPU kernels."""


class Ascent(NamedTuple):
    """Where a batch of N = H·W pixels leads: node N stands for the frame.

    ``top`` int32 (B,N+1): the peak above every node, as a node. ``peaks`` bool (B,N+1): the nodes that are peaks.
    ``joins`` bool (B,N): the pixels whose higher neighbours fall apart. ``far`` bool (B,): a path is too long.
    """

    top: Tensor
    peaks: Tensor
    joins: Tensor
    far: Tensor


def ascend(values: Tensor, holes: bool) -> Ascent:
    """Peaks, joins and the peak above every pixel of 8-connected maps, or of 4-connected backgrounds.

    Args:
        values: int32 (B,H,W), 0 to 255; pixels of value 0 are in no level set.
        holes: The values are a background (255 − map) that hangs on the frame: every border pixel is a join.
    """
    count, height, width = values.shape
    nodes = height * width + 1
    up = _highest_neighbour(values, holes)
    frame = torch.full((count, 1), nodes - 1, dtype=torch.int32, device=values.device)
    up = torch.cat([up.flatten(1), frame], 1)
    own = torch.arange(nodes, dtype=torch.int32, device=values.device)
    alive = torch.cat([values.flatten(1) > 0, torch.full_like(frame, holes, dtype=torch.bool)], 1)
    top = resolve(up, STRIDES)
    far = (select(up, top) != top).any(1)
    return Ascent(top, (up == own) & alive, (_joins(values, holes) & (values > 0)).flatten(1), far)


def select(table: Tensor, index: Tensor) -> Tensor:
    """``table.gather(1, index)`` with an index of int32 (B,N): less to move than int64, which gather asks for."""
    base = torch.arange(len(table), dtype=torch.int32, device=table.device)[:, None] * table.shape[1]
    return table.flatten().index_select(0, (index + base).flatten()).view(index.shape)


def resolve(pointers: Tensor, rounds: int | None = None) -> Tensor:
    """Follow pointers int32 (B,N) within each row: every round doubles the steps taken; to their ends by default."""
    count, nodes = pointers.shape
    base = torch.arange(count, dtype=torch.int32, device=pointers.device)[:, None] * nodes
    flat = (pointers + base).flatten()
    for _ in range(rounds or max(1, (nodes - 1).bit_length())):
        flat = flat.index_select(0, flat)
    return flat.view(count, nodes) - base


def _highest_neighbour(values: Tensor, holes: bool) -> Tensor:
    _, height, width = values.shape
    index = torch.arange(height * width, dtype=torch.int32, device=values.device).view(height, width)
    margin = (FRAME << INDEX_BITS) | (height * width) if holes else -1
    keys = pad((values << INDEX_BITS) | index, (1, 1, 1, 1), value=margin)
    rows = torch.maximum(torch.maximum(keys[:, :, :-2], keys[:, :, 2:]), keys[:, :, 1:-1])
    if holes:
        above, below = keys[:, :-2, 1:-1], keys[:, 2:, 1:-1]
    else:
        above, below = rows[:, :-2], rows[:, 2:]
    return torch.maximum(torch.maximum(above, below), rows[:, 1:-1]) & ((1 << INDEX_BITS) - 1)


def _joins(values: Tensor, holes: bool) -> Tensor:
    """Yokoi's number of the higher pixels around each is two or more; of equal values the later index is higher."""
    _, height, width = values.shape
    padded = pad(values.to(torch.uint8), (1, 1, 1, 1))
    centre = padded[:, 1:-1, 1:-1]

    def around(dy: int, dx: int) -> Tensor:
        shifted = padded[:, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        return shifted >= centre if (dy, dx) > (0, 0) else shifted > centre

    nw, n, ne, west = around(-1, -1), around(-1, 0), around(-1, 1), around(0, -1)
    east, sw, s, se = around(0, 1), around(1, -1), around(1, 0), around(1, 1)
    if holes:
        parts = (east & ~(ne & n), n & ~(nw & west), west & ~(sw & s), s & ~(se & east))
    else:
        parts = (~east & (ne | n), ~n & (nw | west), ~west & (sw | s), ~s & (se | east))
    several = torch.stack(parts).sum(0, dtype=torch.uint8) >= 2
    if holes:
        several[:, 0], several[:, -1], several[:, :, 0], several[:, :, -1] = True, True, True, True
    return several
