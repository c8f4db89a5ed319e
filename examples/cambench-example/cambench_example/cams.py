"""A CAM method, registered by its decorator when cambench loads this module."""

from torch import Tensor

from cambench import register_cam
from cambench.baselines.cams.evidence import Evidence


@register_cam("posgradcam", title="Positive Grad-CAM", source="an example; Grad-CAM (Selvaraju et al.) of relu(G)")
def positive_grad_cam(e: Evidence) -> Tensor:
    """w_i = mean over the map of relu(G_i); (B,N,1,1)."""
    return e.gradients.clamp_min(0).mean((-2, -1), keepdim=True)
