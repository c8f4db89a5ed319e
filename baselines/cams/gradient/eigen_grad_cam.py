"""Eigen-Grad-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .eigen import first_component


@register_cam(
    "eigengradcam",
    title="Eigen-Grad-CAM",
    source="pytorch-grad-cam (Gildenblat, 2021): Muhammad & Yeasin, IJCNN 2020, on G ⊙ F",
    gap_linear_unclamped=True,
    cost="1 forward + 1 head backward; one eigenvector of a min(N, PQ)² matrix an image",
)
def eigen_grad_cam(e: Evidence) -> Tensor:
    """w_i = v_i·G_i, v the first right singular vector of the uncentred G ⊙ F, so M = (G ⊙ F)·v; (B,N,P,Q).

    Sign: the sum of M is not negative. pytorch-grad-cam centres each channel first, and leaves the sign to the
    linear-algebra library. On a GAP + linear head with F ≥ 0 no weight is negative (Perron-Frobenius: v_i has the sign
    of G_i), so evidence against the class is drawn like evidence for it.
    """
    return first_component(e.gradients * e.features).to(e.features.dtype)[:, :, None, None] * e.gradients
