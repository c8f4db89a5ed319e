"""Grad-CAM++."""

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam

EPS = 1e-6


@register_cam(
    "gradcam++",
    title="Grad-CAM++",
    source="Chattopadhay et al., WACV 2018 (arXiv 1710.11063, Eq. 19, as pytorch-grad-cam cites it)",
    nonnegative_weights=True,
)
def grad_cam_pp(e: Evidence) -> Tensor:
    """w_i = Σ relu(G_i)·α_i, α = G²/(2G² + ΣF·G³ + ε), 0 where G = 0; (B,N,1,1).

    ε = 1e-6, as in pytorch-grad-cam. It counts where |G| is below about 1e-3: there α falls with G².
    """
    gradients, total = e.gradients, e.features.sum((-2, -1), keepdim=True)
    squared = gradients.square()
    alpha = squared / (2 * squared + total * squared * gradients + EPS)
    return torch.where(gradients > 0, gradients * alpha, 0).sum((-2, -1), keepdim=True)
