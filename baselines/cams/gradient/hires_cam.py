"""HiRes-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import Identity, register_cam


@register_cam(
    "hirescam",
    title="HiRes-CAM",
    source="Draelos & Carin, 2020 (arXiv 2011.08891)",
    identities=(Identity("cam", "gap_linear"), Identity("layercam", clamp="needed")),
)
def hires_cam(e: Evidence) -> Tensor:
    """w_i = G_i, elementwise, so that M = Σ_i G_i ⊙ F_i; (B,N,P,Q). With the clamp it is Layer-CAM."""
    return e.gradients
