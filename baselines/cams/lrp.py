"""Layer-wise Relevance Propagation."""

from torch import Tensor, nn

from ..base import Backbone, register_cam
from ..evidence import Evidence
from ._captum import attribute, sum_of_colours, unfit

RULES = (
    *(nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    *(nn.ReLU, nn.Tanh, nn.Dropout),
)
"""Layers for which Captum has a rule."""


def _refuses(backbone: Backbone) -> str | None:
    reason = unfit(backbone, RULES, (), once=True)
    return reason and f"LRP passes relevance from layer to layer, and {reason}"


@register_cam(
    "lrp",
    title="LRP-ε",
    source="Bach et al., PLoS ONE 2015; ε-rule with ε = 1e-9 in every layer; through Captum",
    needs=("images", "input_gradients"),
    returns="map",
    cost="2 forwards + 1 backward",
    expensive=True,
    requires="captum",
    refuses=_refuses,
    nearest=("deeplift", "ig", "saliency"),
)
def lrp(e: Evidence) -> Tensor:
    """M = Σ over colours of the relevance that reaches x from the head's target logit; signed, (B,R,R).

    R_i = Σ_j a_i·w_ij / (z_j + ε·sign z_j) · R_j. Conservation: on a network without biases ΣM = y; biases absorb
    relevance. A sum of branches (residual networks) would hand the whole relevance to each, so they are refused.
    """
    return sum_of_colours(attribute("LRP", e))
