"""Layer-wise Relevance Propagation."""

from torch import Tensor, nn

from ...contracts import Backbone
from ..evidence import Evidence
from ..method import register_cam
from .captum_calls import attribute, sum_of_colours, unfit

RULES = (
    *(nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    *(nn.ReLU, nn.Tanh, nn.Dropout, nn.Identity, nn.Flatten),
)
"""Layers for which Captum has a rule, or which ``_with_rules`` gives one."""


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
    relevance. A sum of branches (residual networks) would hand the whole relevance to each, and Captum loses that of a
    tensor which both a layer and a concatenation read, so both are refused.
    """
    return sum_of_colours(attribute("LRP", e, prepare=_with_rules))


class _Flattened(nn.Module):
    """A flattening whose only layer, to Captum, is a dropout of nothing."""

    def __init__(self, flatten: nn.Flatten) -> None:
        super().__init__()
        self.start, self.end, self.same = flatten.start_dim, flatten.end_dim, nn.Dropout(0.0)

    def forward(self, x: Tensor) -> Tensor:
        same: Tensor = self.same(x)
        return same.flatten(self.start, self.end)


def _with_rules(net: nn.Module) -> None:
    """Give layers that only hand values on a form that Captum has a rule for: dropout, which passes relevance as it is.

    Not in the network that other methods explain: some ask in their forward whether a layer is an Identity (HRNet).
    """
    for module in list(net.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Identity:
                setattr(module, name, nn.Dropout(0.0).eval())
            elif type(child) is nn.Flatten:
                setattr(module, name, _Flattened(child).eval())
