"""Occlusion."""

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .masking import bank_scores

PATCH = 2
"""Side of the occluding square, in cells of the feature map (32 pixels at 14×14 cells and 224×224 pixels)."""


@register_cam(
    "occlusion",
    title="Occlusion",
    source=f"Zeiler & Fergus, ECCV 2014; a grey square of {PATCH}×{PATCH} cells at each cell of the feature map",
    needs=("features", "images", "rescoring"),
    returns="map",
    cost="1 + P·Q forwards",
    expensive=True,
)
def occlusion(e: Evidence) -> Tensor:
    """M(p,q) = f(x) − f(x without the square centred on cell (p,q)), float64 (B,P,Q).

    f is the activated score, as in the paper: the softmax probability, or the sigmoid on the sigmoid branch. Squares
    are clipped at the border; grey is the mean colour (zero in the normalised image).
    """
    images, (rows, columns) = e.images, e.features.shape[-2:]
    height, width = images.shape[-2:]
    vertical, horizontal = _spans(rows, height, images.device), _spans(columns, width, images.device)
    drops, step = [], e.copies(images)
    whole = e.activated_scores(images)[:, None]
    for start in range(0, rows * columns, step):
        cell = torch.arange(start, min(start + step, rows * columns), device=images.device)
        hidden = vertical[cell // columns][:, :, None] & horizontal[cell % columns][:, None, :]
        drops.append(whole - bank_scores(e, ~hidden))
    return torch.cat(drops, 1).view(-1, rows, columns)


def _spans(cells: int, pixels: int, device: torch.device) -> Tensor:
    """Pixels (cells, pixels), bool, that a square centred on each cell covers along one axis."""
    centres = (torch.arange(cells, device=device, dtype=torch.float64) + 0.5) * (pixels / cells)
    places = torch.arange(pixels, device=device, dtype=torch.float64) + 0.5
    return (places - centres[:, None]).abs() < max(PATCH * pixels / cells, 1) / 2
