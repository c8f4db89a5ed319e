"""BagCAMs."""

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam


@register_cam(
    "bagcams",
    title="BagCAMs",
    source="Zhu et al., ECCV 2022; the formula of the authors' code",
    nonnegative_weights=True,
    named=True,
)
def bag_cams(e: Evidence) -> Tensor:
    """M = Σ_i relu((1 + mean over the map of D_i·F_i)·D_i ⊙ F_i), D = ∂ log y/∂F = G/|y|, y the target's logit.

    As weights (B,N,P,Q): the factor of F_i where the summand is positive, 0 elsewhere, so no weight is negative where
    F ≥ 0. Each cell's gradient is a localiser of its own; the mean over cells weighs them. For y < 0 there is no
    logarithm, and 1/y would turn every localiser round: |y| divides. For y = 0 the gradient is not divided.
    """
    chosen = e.logits.gather(1, e.target[:, None]).abs()[:, :, None, None].to(e.features.dtype)
    local = e.gradients / torch.where(chosen > 0, chosen, 1)
    factor = (1 + (local * e.features).mean((-2, -1), keepdim=True)) * local
    return torch.where(factor * e.features > 0, factor, 0)
