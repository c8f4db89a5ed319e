"""CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam


@register_cam("cam", title="CAM", source="Zhou et al., CVPR 2016", needs=("features", "class_weights"))
def cam(e: Evidence) -> Tensor:
    """w_i = the linear layer's weight of channel i for the target class; (B,N,1,1)."""
    return e.class_weights
