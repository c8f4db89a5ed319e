"""Guided back-propagation."""

from torch import Tensor, nn

from ...contracts import Backbone
from ...probes.anatomy import LINEAR_OPS, anatomy
from ..evidence import Evidence
from ..method import register_cam
from .captum_calls import AFFINE, attribute, largest_of_colours, unfit


def _refuses(backbone: Backbone) -> str | None:
    reason = unfit(backbone, (*AFFINE, nn.ReLU, nn.MaxPool2d), {*LINEAR_OPS, "max_pool2d_with_indices"}, once=False)
    if reason is None and not any(isinstance(m, nn.ReLU) for m in anatomy(backbone).layers.values()):
        reason = f"{backbone.name} has none"
    return reason and f"guided back-propagation replaces the gradient of ReLU layers, and {reason}"


@register_cam(
    "guided_backprop",
    title="Guided back-propagation",
    source="Springenberg et al., ICLR Workshops 2015; through Captum",
    needs=("images", "input_gradients"),
    returns="map",
    cost="1 forward + 1 backward",
    expensive=True,
    requires="captum",
    refuses=_refuses,
    nearest=("saliency", "smoothgrad"),
)
def guided_backprop(e: Evidence) -> Tensor:
    """M = max over colours of |∂y/∂x|, negative gradients dropped at every ReLU on the way back; (B,R,R).

    y is the head's target logit.
    """
    return largest_of_colours(attribute("GuidedBackprop", e))
