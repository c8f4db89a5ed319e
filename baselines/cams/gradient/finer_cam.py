"""Finer-CAM."""

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam

SIMILAR, ALPHA = 3, 1.0
"""Classes to compare with, and the strength of the comparison (pytorch-grad-cam's defaults)."""


@register_cam(
    "finercam",
    title="Finer-CAM",
    source=f"Zhang et al., CVPR 2025, on Grad-CAM; {SIMILAR} similar classes, α = {ALPHA:g} (as in pytorch-grad-cam)",
    needs=("features", "head_gradients"),
    cost="1 forward + 1 head backward",
)
def finer_cam(e: Evidence) -> Tensor:
    """w_i = mean over the map of ∂S/∂F_i, S = Σ_d ω_d·(y_k − α·y_d), ω = softmax of y over the classes d; (B,N,1,1).

    d are the ``SIMILAR`` classes whose logits are nearest to the target's (fewer where the head has fewer). ω is
    differentiated too, as in pytorch-grad-cam, whose ω divides by Σp + 1e-9 and so fades where every p_d is tiny.

    Raises:
        ValueError: The head has one class.
    """
    classes = e.logits.shape[1]
    if classes < 2:
        raise ValueError("Finer-CAM compares classes, and this head has one; use gradcam")
    target = e.target[:, None]
    distance = (e.logits - e.logits.gather(1, target)).abs().scatter(1, target, torch.inf)
    similar = distance.argsort(dim=1, stable=True)[:, : min(SIMILAR, classes - 1)]

    def score(logits: Tensor) -> Tensor:
        others = logits.gather(1, similar)
        return (others.softmax(1) * (logits.gather(1, target) - ALPHA * others)).sum(1)

    return e.head_gradient(score).mean((-2, -1), keepdim=True)
