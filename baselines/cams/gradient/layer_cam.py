"""Layer-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import Identity, register_cam


@register_cam(
    "layercam",
    title="Layer-CAM",
    source="Jiang et al., TIP 2021",
    identities=(Identity("cam", "gap_linear", clamp="added"),),
    nonnegative_weights=True,
    nonnegative_always=True,
)
def layer_cam(e: Evidence) -> Tensor:
    """w_i = relu(G_i), elementwise; (B,N,P,Q)."""
    return e.gradients.relu()
