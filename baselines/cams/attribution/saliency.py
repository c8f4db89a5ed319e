"""Saliency."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .captum_calls import attribute, largest_of_colours


@register_cam(
    "saliency",
    title="Saliency",
    source="Simonyan et al., ICLR Workshops 2014; through Captum",
    needs=("images", "input_gradients"),
    returns="map",
    cost="1 forward + 1 backward",
    expensive=True,
    requires="captum",
)
def saliency(e: Evidence) -> Tensor:
    """M = max over colours of |∂y/∂x|, y the head's logit of the target class; (B,R,R) at the image's size.

    x is the normalised image. The logit is taken on both branches: a probability's derivative saturates.
    """
    return largest_of_colours(attribute("Saliency", e, abs=False))
