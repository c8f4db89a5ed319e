"""Adversarial complementary learning."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ..contracts import Backbone, min_max_map
from .new_layers import (
    base_name,
    body_of,
    class_map,
    classifier_of,
    convolution_relu,
    fresh,
    set_body,
    set_classifier,
)
from .wsol_method import Range, Terms, WsolMethod, register_wsol

_DROPPED = {
    "vgg16_gap": (("conv6", "relu6"), 512),
    "inception_v3_gap": (("dropout1", "conv7_1", "dropout2", "conv7_2", "dropout3"), 768),
    "slim_vgg_gap": (("conv6",), 96),
    "slim_inception": (("conv7",), 128),
}
"""Layers of the plain network in whose place the two classifiers stand, and the channels before them."""
_SLIM = "slim_"
THRESHOLD = "acol_threshold"
"""Attribute of a network that holds the threshold it was trained with."""
_POOL4, _POOL_KERNEL = 23, 3


@register_wsol("acol", title="ACoL", source="Zhang et al., CVPR 2018; as in Choe et al., CVPR 2020")
class Acol(WsolMethod):
    """Two parallel classifiers, the second of which sees the features without what the first looks at.

    Each: 3×3 convolution to 1024 channels, ReLU, twice, then a 1×1 convolution to C and GAP. A's map of the label,
    min-max normalised, is erased from B's input where it is at least ``threshold``. Loss: CE(A) + CE(B). A is the
    network's softmax head, so that every CAM method reads A; ``acolmap`` is the method's own map. VGG-16 pools by
    3×3 windows, and ends in a max and an average pooling of stride 1. Slim networks have 128 channels and BatchNorm.
    """

    cam: ClassVar[str] = "acolmap"
    search: ClassVar[Mapping[str, Range]] = {"threshold": (0.0, 1.0)}
    new_layers: ClassVar[tuple[str, ...]] = ("branches.", "body.branch_a.")
    threshold: float = Field(default=0.7, ge=0)
    """Above 1, nothing is erased."""

    def refuses(self, network: Backbone) -> str | None:
        """A reason unless the network is a chain of layers with a GAP + linear head."""
        if body_of(network) is not None and network.head_kind == "gap_linear":
            return None
        return (
            f"acol cannot change {network.name}: it needs a network that is a chain of layers with a GAP + linear "
            "head, such as vgg16_gap, resnet50, inception_v3_gap, slim_vgg_gap, slim_resnet or slim_inception"
        )

    def change_network(self, network: Backbone) -> None:
        """A behind the body, with the softmax head; B beside it, under ``branches.b``."""
        super().change_network(network)
        body = body_of(network)
        assert body is not None
        dropped, channels = _DROPPED.get(base_name(network), ((), classifier_of(network).in_features))
        layers = [(name, layer) for name, layer in body.named_children() if name not in dropped]
        if base_name(network) == "vgg16_gap":
            layers[0] = ("features", _pooled_by_three(layers[0][1]))
            layers += [("pool5", nn.MaxPool2d(3, 1, 1)), ("mean5", nn.AvgPool2d(3, 1, 1))]
        slim = network.name.startswith(_SLIM)
        width = 128 if slim else 1024
        first, second = (_classifier(channels, width, slim) for _ in range(2))
        set_body(network, [*layers, ("branch_a", first)])
        set_classifier(network, width)
        last = nn.Conv2d(width, network.num_classes, 1)
        fresh(last)
        network.branches = nn.ModuleDict({"b": nn.Sequential(*second, last)})
        setattr(network, THRESHOLD, self.threshold)

    def loss(self, network: Backbone, images: Tensor, targets: Tensor) -> tuple[Terms, Tensor]:
        """CE(A) + CE(B), and A's logits."""
        trunk = _trunk(network, images)
        features = network.get_submodule("body.branch_a")(trunk)
        logits = network.head("softmax")(features)
        # The erasing mask has no gradient.
        erased = erase(trunk, class_map(network, features.detach(), targets), self.threshold)
        second = network.get_submodule("branches.b")(erased).mean((-2, -1))
        return {"A": self.cross_entropy(logits, targets), "B": self.cross_entropy(second, targets)}, logits


def _trunk(network: Backbone, images: Tensor) -> Tensor:
    """What both classifiers read, (B,N,P,Q): everything before A."""
    body = body_of(network)
    assert body is not None
    trunk: Tensor = body[:-1](images)
    return trunk


def erase(features: Tensor, maps: Tensor, threshold: float) -> Tensor:
    """Features (B,N,P,Q) with zeros where the min-max normalised map (B,P,Q) is at least ``threshold``."""
    kept = (min_max_map(maps) < threshold).to(features.dtype)
    return features * kept[:, None]


@torch.no_grad()
def acol_map(network: Backbone, images: Tensor, target: Tensor) -> Tensor:
    """ACoL's own map (B,P,Q): the maximum of A's and B's min-max normalised maps of classes ``target`` (B,).

    B sees the features without what A's map of the class covers, as in training. In [0, 1].
    """
    branch, trunk = network.get_submodule, _trunk(network, images)
    first = class_map(network, branch("body.branch_a")(trunk), target)
    maps: Tensor = branch("branches.b")(erase(trunk, first, float(getattr(network, THRESHOLD))))
    second = maps[torch.arange(len(target), device=target.device), target]
    return torch.maximum(min_max_map(first), min_max_map(second))


def _classifier(channels: int, width: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(*convolution_relu(channels, width, norm), *convolution_relu(width, width, norm))


def _pooled_by_three(features: nn.Module) -> nn.Module:
    """VGG's layers with pools of 3×3; pool4 of the 28×28 version keeps the size."""
    layers = []
    for index, layer in enumerate(features.children()):
        if isinstance(layer, nn.MaxPool2d):
            layer = nn.MaxPool2d(_POOL_KERNEL, 2, 1)
        elif index == _POOL4 and isinstance(layer, nn.Identity):
            layer = nn.MaxPool2d(_POOL_KERNEL, 1, 1)
        layers.append(layer)
    return nn.Sequential(*layers)
