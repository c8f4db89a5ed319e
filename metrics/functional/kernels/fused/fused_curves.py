"""Launch the fused engine on a batch of maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..tensor import Truth
from .map_program import map_program
from .scratch import LEVELS, SERVED, words

BLOCK = 1024
"""Pixels that a program takes at once."""


def fused_curves(levels: Tensor, truth: Truth, block: int = BLOCK) -> tuple[Tensor, Tensor]:
    """As ``tensor_curves``, by one program a map: nothing waits for the device.

    Args:
        levels: uint8 (B,H,W), sides up to 512, on a CUDA device; on the CPU under Triton's interpreter.
        truth: On the same device.
        block: Pixels that a program takes at once, a power of 2.
    """
    count, height, width = levels.shape
    boxes = torch.cat([pad(truth.counts[:, None, None], (0, 3)), truth.boxes], 1).contiguous()
    curves = torch.zeros(count, 3, int(LEVELS.value), dtype=torch.float64, device=levels.device)
    scratch = torch.empty(count, words(height * width), dtype=torch.int32, device=levels.device)
    program: Any = map_program
    program[(count,)](levels.contiguous(), boxes, curves, scratch, height, width, truth.boxes.shape[1], BLOCK=block)
    return curves.transpose(0, 1), scratch[:, int(SERVED.value)] > 0
