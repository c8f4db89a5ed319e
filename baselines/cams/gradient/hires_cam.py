"""HiRes-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam


@register_cam(
    "hirescam",
    title="HiRes-CAM",
    source="Draelos & Carin, 2020 (arXiv 2011.08891)",
    gap_linear_equal="cam",
    clamped_equal="layercam",
)
def hires_cam(e: Evidence) -> Tensor:
    """w_i = G_i, elementwise, so that M = Σ_i G_i ⊙ F_i; (B,N,P,Q). With the clamp it is Layer-CAM."""
    return e.gradients
