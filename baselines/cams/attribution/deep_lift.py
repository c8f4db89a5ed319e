"""DeepLIFT."""

from torch import Tensor, nn

from ...contracts import Backbone
from ...probes.anatomy import LINEAR_OPS, anatomy
from ..evidence import Evidence
from ..method import register_cam
from .captum_calls import AFFINE, attribute, sum_of_colours, unfit

RULES = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.MaxPool2d)
"""Layers that Captum's rescale rule knows beside affine ones."""


def _refuses(backbone: Backbone) -> str | None:
    reason = unfit(backbone, (*AFFINE, *RULES), LINEAR_OPS, once=True)
    if reason is None and any(overlaps(m) for m in anatomy(backbone).layers.values()):
        reason = f"{backbone.name} has max pooling with overlapping windows, where Captum's rule loses contributions"
    return reason and f"DeepLIFT has a rule for each activation layer, and {reason}"


def overlaps(layer: nn.Module) -> bool:
    """Whether a layer is a max pooling whose windows share cells."""
    return isinstance(layer, nn.MaxPool2d) and _side(layer.stride) < _side(layer.kernel_size)


def _side(size: int | tuple[int, ...]) -> int:
    return size if isinstance(size, int) else max(size)


@register_cam(
    "deeplift",
    title="DeepLIFT",
    source="Shrikumar et al., ICML 2017 (rescale rule), from the mean colour; through Captum",
    needs=("images", "input_gradients"),
    returns="map",
    cost="2 forwards + 2 backwards",
    expensive=True,
    requires="captum",
    refuses=_refuses,
    nearest=("ig", "saliency"),
)
def deep_lift(e: Evidence) -> Tensor:
    """M = Σ over colours of m·(x − x₀), m the multipliers of the rescale rule for the head's target logit; (B,R,R).

    The baseline x₀ is zero in the normalised image, the mean colour. Completeness: ΣM = y(x) − y(x₀), exactly.
    """
    return sum_of_colours(attribute("DeepLift", e, prepare=with_own_inputs))


def with_own_inputs(net: nn.Module) -> None:
    """Give every layer with a rule an input tensor of its own.

    Captum reads a layer's outgoing multiplier by a hook on its output. Where the next layer has a rule too (ReLU, then
    max pooling), that tensor is also the one whose gradient the next rule replaces, and the hook sees it unreplaced.
    """
    for module in net.modules():
        if isinstance(module, RULES):
            module.register_forward_pre_hook(lambda _, given: given[0].clone())
