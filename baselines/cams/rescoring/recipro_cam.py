"""Recipro-CAM."""

import torch
from torch import Tensor

from ...contracts import Backbone
from ..evidence import Evidence
from ..method import register_cam

CENTRE, BESIDE = 0.5, 0.25
"""A mask's weights along one axis, at its cell and at the cells beside it: the 3×3 kernel [1 2 1]ᵀ[1 2 1]/16."""


def _refuses(backbone: Backbone) -> str | None:
    if backbone.class_token:
        return f"reciprocam masks the cells of a convolutional map, and {backbone.name} decides by a class token"
    return None


@register_cam(
    "reciprocam",
    title="Recipro-CAM",
    source="Byun & Lee, CVPR Workshops 2024 (arXiv 2209.14074); 3×3 Gaussian masks",
    needs=("features", "rescoring"),
    returns="map",
    cost="1 forward + P·Q head forwards",
    expensive=True,
    refuses=_refuses,
    nearest=("vit_reciprocam",),
)
def recipro_cam(e: Evidence) -> Tensor:
    """M(p,q) = f(F ⊙ m_pq) − min, m_pq the 3×3 Gaussian at cell (p,q), cut at the border; float64 (B,P,Q).

    f is the activated score through the head alone, as in the authors' code: the softmax probability, or the sigmoid on
    the sigmoid branch. The mask multiplies the features of all nine cells, as in the paper; the authors' code spreads
    the centre's features over the nine cells instead. The minimum goes first, as in the paper's min-max.
    """
    return cell_scores(e)


def cell_scores(e: Evidence) -> Tensor:
    """Activated target scores behind the mask of each cell, less their minimum; float64 (B,P,Q)."""
    rows, columns = e.features.shape[-2:]
    masks = cell_masks(rows, columns, e.features)
    batch, chunks, step = len(e.features), [], e.copies(e.features)
    for start in range(0, rows * columns, step):
        masked = e.features[:, None] * masks[start : start + step, None]
        chunks.append(e.activated_feature_scores(masked.flatten(0, 1)).view(batch, -1))
    scores = torch.cat(chunks, 1)
    return (scores - scores.amin(1, keepdim=True)).view(batch, rows, columns)


def cell_masks(rows: int, columns: int, like: Tensor) -> Tensor:
    """Masks (rows·columns, rows, columns) of the dtype and device of ``like``, cells in raster order."""
    down, across = (_axis(length, like) for length in (rows, columns))
    return (down[:, None, :, None] * across[None, :, None, :]).flatten(0, 1)


def _axis(length: int, like: Tensor) -> Tensor:
    place = torch.arange(length, device=like.device)
    apart = (place[:, None] - place).abs()
    return CENTRE * (apart == 0).to(like.dtype) + BESIDE * (apart == 1).to(like.dtype)
