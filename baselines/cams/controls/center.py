"""Centre control."""

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam

SIGMA = 0.25
"""Standard deviation as a fraction of the image side."""


@register_cam(
    "center",
    title="Center",
    source="control: Gaussian at the image centre, σ = side/4",
    needs=(),
    returns="mask",
    headless=True,
)
def center(e: Evidence) -> Tensor:
    """exp(−r²/2σ²), r from the image centre to the cell's centre, in sides; (B,P,Q)."""
    axes = [(torch.arange(n, device=e.features.device) + 0.5) / n - 0.5 for n in e.features.shape[-2:]]
    rows, columns = (torch.exp(-axis.square() / (2 * SIGMA**2)) for axis in axes)
    return (rows[:, None] * columns).expand(len(e.features), -1, -1)
