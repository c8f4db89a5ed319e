"""RISE."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ....hashing import uniforms
from ..evidence import Evidence
from ..method import register_cam
from .masking import bank_scores

MASKS, GRID, KEEP, SEED = 4000, 7, 0.5, 0
"""Masks, cells of a mask's side, probability that a cell is kept (the paper's, for VGG-16), and the bank's seed."""


@register_cam(
    "rise",
    title="RISE",
    source=f"Petsiuk et al., BMVC 2018; {MASKS} masks of {GRID}×{GRID} cells, p = {KEEP:g}, bank seed {SEED}",
    needs=("features", "images", "rescoring"),
    returns="map",
    cost=f"1 + {MASKS} forwards",
    expensive=True,
)
def rise(e: Evidence) -> Tensor:
    """S = 1/(p·n) Σ_k f(x ⊙ m_k)·m_k, float64 (B,H,W) at the image's size.

    f is the activated score, as in the paper: the softmax probability, or the sigmoid on the sigmoid branch. All
    images of all batches meet the same bank of masks.
    """
    images = e.images
    height, width = images.shape[-2:]
    total = torch.zeros(len(images), height * width, dtype=torch.float64, device=images.device)
    step = e.copies(images)
    for start in range(0, MASKS, step):
        masks = mask_bank(start, min(start + step, MASKS), (height, width), images.device)
        # In the images' precision within a chunk, in float64 over the chunks.
        flat = masks.flatten(1).to(images.dtype)
        total += bank_scores(e, masks).to(images.dtype) @ flat
    return (total / (KEEP * MASKS)).view(-1, height, width)


def mask_bank(first: int, last: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Masks ``first`` … ``last`` − 1 of the bank, float32 (k,H,W) in [0, 1], functions of their numbers alone.

    A random grid is resized bilinearly to one cell more than the image, and cropped at a random offset below a cell.
    """
    number = torch.arange(first, last, device=device)
    values = uniforms(torch.full((), SEED, device=device), number, GRID * GRID + 2)
    grid = (values[:, : GRID * GRID] < KEEP).float().view(-1, GRID, GRID)
    # The resize of an axis is a product with a small matrix, the crop a choice of its rows.
    down, across = (_resize(n, values[:, GRID * GRID + axis]) for axis, n in enumerate(size))
    return (down @ grid @ across.mT).clamp_(0, 1)


def _resize(pixels: int, shift: Tensor) -> Tensor:
    """Matrices (k,pixels,GRID): bilinear to GRID + 1 cells of ⌈pixels/GRID⌉ pixels, cropped at shift·cell."""
    cell = -(-pixels // GRID)
    basis = torch.eye(GRID, device=shift.device)[None]
    whole = F.interpolate(basis, size=(GRID + 1) * cell, mode="linear", align_corners=False)[0].T
    return whole[(shift * cell).long()[:, None] + torch.arange(pixels, device=shift.device)]
