"""Random control."""

import torch
from torch import Tensor

from ....hashing import splitmix64
from ..evidence import Evidence
from ..method import register_cam


@register_cam(
    "random",
    title="Random",
    source="control: uniform noise, seeded by the image id",
    needs=(),
    returns="mask",
    headless=True,
)
def random_map(e: Evidence) -> Tensor:
    """Independent uniform values in [0, 1) for each cell, a function of the image's id alone; (B,P,Q)."""
    height, width = e.features.shape[-2:]
    cells = torch.arange(1, height * width + 1, device=e.features.device)
    bits = splitmix64(splitmix64(e.seeds)[:, None] + cells) & 0xFFFFFF
    return (bits.to(torch.float32) / 2**24).view(-1, height, width)
