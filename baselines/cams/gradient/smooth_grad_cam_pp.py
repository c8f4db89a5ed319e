"""Smooth Grad-CAM++."""

import torch
from torch import Tensor

from ....hashing import normals
from ..evidence import Evidence
from ..method import Identity, register_cam
from .grad_cam_pp import EPS

SAMPLES, SIGMA = 4, 0.3
"""Noisy images, and the noise of the normalised image (torch-cam's defaults)."""


@register_cam(
    "smoothgradcam++",
    title="Smooth Grad-CAM++",
    source=f"Omeiza et al., 2019 (arXiv 1908.01224); {SAMPLES} samples, σ = {SIGMA:g}, seeded by image id",
    needs=("features", "images", "rescoring", "head_gradients"),
    identities=(Identity("gradcam++", "gap_linear"),),
    cost=f"1 + {SAMPLES} forwards + {SAMPLES} head backwards; 1 forward on a GAP + linear head",
    expensive=True,
)
def smooth_grad_cam_pp(e: Evidence) -> Tensor:
    """w_i = Σ relu(D1)·α, α = D2/(2·D2 + ΣF·D3 + ε), 0 where D1 ≤ 0; Dp the mean of G^p over noisy images; (B,N,1,1).

    The noise of each image is a function of its id alone. α's numerator is D2, as in Grad-CAM++ and torch-cam (the
    paper prints D1). torch-cam takes relu of the last sample's gradient, here it is the mean's, as in the paper; and
    torch-cam's ΣF·D3 multiplies cell by cell before it sums. On a GAP + linear head G is constant: Grad-CAM++.
    """
    first, second, third = _moments(e)
    total = e.features.sum((-2, -1), keepdim=True)
    denominator = 2 * second + total * third + EPS
    alpha = second / torch.where(denominator == 0, EPS, denominator)
    return torch.where(first > 0, first * alpha, 0).sum((-2, -1), keepdim=True)


def _moments(e: Evidence) -> tuple[Tensor, Tensor, Tensor]:
    """Means of G, G² and G³ over noisy images, each (B,N,P,Q)."""
    gradient = e.constant_gradient
    if gradient is not None:
        return gradient, gradient.square(), gradient.square() * gradient
    images, shape = e.images, e.images.shape[1:]
    sums = [torch.zeros_like(e.features) for _ in range(3)]
    for sample in range(SAMPLES):
        stream = torch.full((), sample, device=images.device)
        noise = normals(e.seeds, stream, shape.numel(), images.dtype).view_as(images)
        gradient = e.head_gradient(features=e.features_of(images + SIGMA * noise))
        for power, total in enumerate(sums, 1):
            total += gradient.pow(power) / SAMPLES
    return sums[0], sums[1], sums[2]
