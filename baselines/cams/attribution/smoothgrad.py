"""SmoothGrad."""

import torch
from torch import Tensor

from ....hashing import normals
from ..evidence import Evidence
from ..method import register_cam
from .captum_calls import attribute, largest_of_colours

SAMPLES, NOISE = 50, 0.15
"""Noisy images, and their noise as a fraction of the image's range (the paper: n = 50, 10 to 20 %)."""


@register_cam(
    "smoothgrad",
    title="SmoothGrad",
    source=f"Smilkov et al., 2017 (arXiv 1706.03825); {SAMPLES} samples, noise {NOISE:.0%}, seeded by image id; "
    "through Captum",
    needs=("images", "input_gradients"),
    returns="map",
    cost=f"{SAMPLES} forwards + {SAMPLES} backwards",
    expensive=True,
    requires="captum",
)
def smoothgrad(e: Evidence) -> Tensor:
    """M = max over colours of |mean over noise of ∂y/∂x at x + δ|, y the head's target logit; (B,R,R).

    δ ~ N(0, σ²), σ = 0.15·(max x − min x) of the normalised image, a function of the image's id and the sample alone.
    """
    images = e.images
    spread = NOISE * (images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True))
    total = torch.zeros_like(images)
    for sample in range(SAMPLES):
        stream = torch.full((), sample, device=images.device)
        noise = normals(e.seeds, stream, images[0].numel(), images.dtype).view_as(images)
        total += attribute("Saliency", e.at(images + spread * noise), abs=False) / SAMPLES
    return largest_of_colours(total)
