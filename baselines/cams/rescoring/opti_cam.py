"""Opti-CAM."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...contracts import min_max_map
from ..evidence import Evidence
from ..method import register_cam

STEPS, RATE = 100, 0.1
"""Steps of Adam and its learning rate (the paper's)."""


@register_cam(
    "opticam",
    title="Opti-CAM",
    source=f"Zhang et al., CVIU 2024 (arXiv 2301.07002); {STEPS} steps of Adam, rate {RATE:g}",
    needs=("features", "images", "input_gradients"),
    nonnegative_weights=True,
    nonnegative_always=True,
    cost=f"1 + {STEPS} forwards + {STEPS} backwards",
    expensive=True,
    nearest=("scorecam",),
)
def opti_cam(e: Evidence) -> Tensor:
    """w = softmax(u) over channels, u = argmax of y(x ⊙ n(up(Σ_i w_i·F_i))), y the head's target logit; (B,N,1,1).

    n is min-max, up the bilinear resize, x the normalised image (masked out = mean colour). u starts at zero: equal
    weights. Each image is optimised by itself, for all steps; the authors' code ends a whole batch when its loss grows,
    and by default minimises |y(x) − y(masked)| where the paper maximises y.
    """
    images, features = e.images.detach(), e.features
    with torch.enable_grad():
        parameters = torch.zeros_like(features[:, :, :1, :1]).requires_grad_()
        optimiser = torch.optim.Adam([parameters], lr=RATE)
        for _ in range(STEPS):
            combined = (parameters.softmax(1) * features).sum(1, keepdim=True)
            mask = min_max_map(F.interpolate(combined, size=images.shape[-2:], mode="bilinear", align_corners=False))
            logits = e.whole_head(e.backbone.features(images * mask.to(images.dtype)))
            # Not backward(): the network's own parameters must never collect gradients.
            (parameters.grad,) = torch.autograd.grad(-logits.gather(1, e.target[:, None]).sum(), [parameters])
            optimiser.step()
    return parameters.detach().softmax(1)
