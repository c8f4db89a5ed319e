"""Attention-based dropout layer."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..contracts import Backbone
from .new_layers import base_name
from .wsol_method import Range, WsolMethod, register_wsol

POSITIONS: dict[str, tuple[str, ...]] = {
    "vgg16_gap": ("body.features.16", "body.features.22", "body.features.29"),
    "resnet50": ("body.layer3.0", "body.layer4.0", "body.layer4.2"),
    "inception_v3_gap": ("body.Mixed_5d", "body.Mixed_6e", "body.conv7_2"),
    "slim_vgg_gap": ("body.pool3", "body.conv4_2", "body.conv6"),
    "slim_resnet": ("body.layer3", "body.layer4"),
    "slim_inception": ("body.mixed5", "body.mixed6b", "body.conv7"),
}
"""Layers whose outputs are weighed, by network: pool3, conv4_3 and conv5_3 of VGG, and so on."""


@register_wsol("adl", title="ADL", source="Choe & Shim, CVPR 2019; as in Choe et al., CVPR 2020")
class Adl(WsolMethod):
    """Layers without parameters between blocks: attention = mean over channels of the features (B,N,P,Q).

    With probability ``drop_rate`` (one draw a layer and batch) features are multiplied by the mask attention <
    ``threshold``·max, the max of each image; else by sigmoid(attention). The identity in evaluation, so that the
    trained network is the plain one. ADL's own default threshold is 0.8.
    """

    search: ClassVar[Mapping[str, Range]] = {"drop_rate": (0.0, 1.0), "threshold": (0.0, 1.0)}
    drop_rate: float = Field(default=0.75, ge=0, le=1)
    threshold: float = Field(default=0.9, ge=0, le=1)
    layers: tuple[str, ...] = ()
    """Names of the layers whose outputs are weighed; empty: those of the network's table."""

    def refuses(self, network: Backbone) -> str | None:
        """A reason where neither ``layers`` nor the table names layers of the network."""
        modules = dict(network.named_modules())
        absent = [name for name in self.layers if name not in modules]
        if absent:
            return f"adl cannot change {network.name}: it has no layer {absent[0]!r}"
        if self.layers or base_name(network) in POSITIONS:
            return None
        return (
            f"adl cannot change {network.name}: it knows the layers of {', '.join(POSITIONS)}; name the layers of "
            "another network in the recipe, method: {name: adl, layers: [body.…]}"
        )

    def change_network(self, network: Backbone) -> None:
        """Put the attention behind the layers; no parameter is added or renamed."""
        super().change_network(network)
        if base_name(network) == "inception_v3_gap":
            # wsolevaluation's Inception for ADL has no dropout before its last convolutions.
            for name in ("dropout1", "dropout2", "dropout3"):
                dropout = network.get_submodule(f"body.{name}")
                assert isinstance(dropout, nn.Dropout)
                dropout.p = 0.0
        for name in self.layers or POSITIONS[base_name(network)]:
            network.get_submodule(name).register_forward_hook(AttentionDropout(self.drop_rate, self.threshold))


class AttentionDropout:
    """A forward hook that weighs a layer's output while the layer is in training.

    Args:
        drop_rate: Probability of the drop mask instead of the importance map.
        threshold: Share of an image's highest attention above which cells are dropped.
    """

    def __init__(self, drop_rate: float, threshold: float) -> None:
        self.drop_rate, self.threshold = drop_rate, threshold

    def __call__(self, module: nn.Module, _: Any, features: Tensor) -> Tensor:
        """Weighed features (B,N,P,Q); as they are in evaluation."""
        if not module.training:
            return features
        attention = features.mean(1, keepdim=True)
        # A number on the CPU: nothing waits for the device.
        if float(torch.rand(())) < self.drop_rate:
            return features * (attention < self.threshold * attention.amax((1, 2, 3), keepdim=True)).to(features.dtype)
        return features * attention.sigmoid()
