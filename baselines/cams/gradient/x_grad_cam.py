"""XGrad-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import Identity, register_cam

EPS = 1e-7


@register_cam(
    "xgradcam",
    title="XGrad-CAM",
    source="Fu et al., BMVC 2020",
    identities=(Identity("cam", "gap_linear", needs="nonnegative"),),
)
def x_grad_cam(e: Evidence) -> Tensor:
    """w_i = Σ(G_i·F_i) / (ΣF_i + ε), ε = 1e-7; (B,N,1,1)."""
    return (e.gradients * e.features).sum((-2, -1), keepdim=True) / (e.feature_sums + EPS)
