"""KPCA-CAM."""

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam

OFFSET = 1.0
"""Constant c of the sigmoid kernel tanh(γ·⟨x, y⟩ + c), γ = 1/N (scikit-learn's defaults, which the authors use)."""


@register_cam(
    "kpcacam",
    title="KPCA-CAM",
    source="Karmani et al., MMSP 2024 (arXiv 2410.00267); sigmoid kernel, γ = 1/N, c = 1",
    needs=("features",),
    returns="map",
    headless=True,
    named=True,
    cost="1 forward; one eigenvector of a (PQ)² matrix an image",
)
def kpca_cam(e: Evidence) -> Tensor:
    """M = √λ·v, (λ, v) the first eigenpair of the centred kernel matrix tanh(⟨O_p, O_q⟩/N + 1) of cells; (B,P,Q).

    O_p are the N features of cell p, each channel centred on its mean. The class plays no part. A projection on a
    centred component sums to zero, so the sign that Eigen-CAM takes from the sum is taken from the cell of largest
    magnitude, which is positive. float64.
    """
    cells = e.features.flatten(2).mT.double()
    cells = cells - cells.mean(1, keepdim=True)
    kernel = torch.tanh(cells @ cells.mT / cells.shape[2] + OFFSET)
    rows = kernel.mean(2, keepdim=True)
    centred = kernel - rows - rows.mT + rows.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred)
    first, scale = vectors[..., -1], values[..., -1:].clamp_min(0).sqrt()
    peak = first.gather(1, first.abs().argmax(1, keepdim=True))
    projected: Tensor = first * scale * peak.sign()
    return projected.view(len(cells), *e.features.shape[-2:])
