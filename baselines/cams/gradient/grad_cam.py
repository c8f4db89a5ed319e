"""Grad-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import Identity, register_cam


@register_cam(
    "gradcam",
    title="Grad-CAM",
    source="Selvaraju et al., ICCV 2017",
    identities=(Identity("cam", "gap_linear"), Identity("cam", "tap_linear", needs="nonnegative")),
)
def grad_cam(e: Evidence) -> Tensor:
    """w_i = mean over the map of G_i; (B,N,1,1)."""
    return e.gradients.mean((-2, -1), keepdim=True)
