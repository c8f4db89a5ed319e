"""Bicubic resize that is bit-equal to OpenCV's INTER_CUBIC on float64 maps, on any device.

OpenCV computes the four weights of an output pixel in float32 and sums in float64, horizontally first. Weights in
float64 (torch's) give the same map to some 1e-6 only, which flips levels where the ratio of sizes is not dyadic.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from .maps_cpu import resize_taps


@lru_cache(maxsize=64)
def cubic_taps(length: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Source indices int64 (4,size), clamped to the border, and float64 weights (4,size); a = −0.75."""
    one, a = np.float32(1), np.float32(-0.75)
    position = ((np.arange(size) + 0.5) * (length / size) - 0.5).astype(np.float32)
    base = np.floor(position)
    x = position - base
    x1, y = x + one, one - x
    w0 = ((a * x1 - np.float32(5) * a) * x1 + np.float32(8) * a) * x1 - np.float32(4) * a
    w1 = ((a + np.float32(2)) * x - (a + np.float32(3))) * x * x + one
    w2 = ((a + np.float32(2)) * y - (a + np.float32(3))) * y * y + one
    w3 = one - w0 - w1 - w2
    index = np.clip(base.astype(np.int64) + np.arange(-1, 3)[:, None], 0, length - 1)
    weights = np.stack([w0, w1, w2, w3]).astype(np.float64)
    return torch.from_numpy(index).to(device), torch.from_numpy(weights).to(device)


def on_host(maps: Tensor) -> bool:
    """Whether the compiled kernels may take the maps: on the CPU, and nobody asks for their gradient."""
    return maps.device.type == "cpu" and not (maps.requires_grad and torch.is_grad_enabled())


def bicubic(maps: Tensor, size: int) -> Tensor:
    """Maps (B,h,w) float64 resized to (B,size,size); sums in OpenCV's order, one rounding per operation."""
    if maps.shape[1:] == (size, size):
        return maps.clone()
    if on_host(maps):
        x_index, x_weight = (t.numpy() for t in cubic_taps(maps.shape[2], size, maps.device))
        y_index, y_weight = (t.numpy() for t in cubic_taps(maps.shape[1], size, maps.device))
        out = torch.empty((len(maps), size, size), dtype=torch.float64)
        resize_taps(maps.detach().contiguous().numpy(), x_index, x_weight, y_index, y_weight, out.numpy())
        return out
    index, weight = cubic_taps(maps.shape[2], size, maps.device)
    rows = maps[:, :, index[0]] * weight[0]
    for k in range(1, 4):
        rows += maps[:, :, index[k]] * weight[k]
    index, weight = cubic_taps(maps.shape[1], size, maps.device)
    out = rows[:, index[0]].mul_(weight[0, :, None])
    for k in range(1, 4):
        out += rows[:, index[k]].mul_(weight[k, :, None])
    return out
