"""A network cut at its target feature map: a named convolutional body, and a head."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from ..contracts import IMAGENET_MEAN, IMAGENET_STD, Backbone, Head


class SplitNetwork(Backbone):
    """A convolutional body that ends in ReLU, and a head.

    Args:
        name: Name in triples.
        body: Images (B,3,R,R) -> target feature map (B,N,P,Q), F >= 0.
        head: Head of the softmax branch.
        feature_layer: Name of the module that makes the feature map.
    """

    nonnegative = True

    def __init__(self, name: str, body: nn.Sequential, head: Head, feature_layer: str) -> None:
        super().__init__(IMAGENET_MEAN, IMAGENET_STD)
        self.name, self.body, self.feature_layer = name, body, feature_layer
        self.heads["softmax"] = head
        self.num_classes, self.head_kind = head.num_classes, head.kind

    def features(self, images: Tensor) -> Tensor:
        """Target feature map (B,N,P,Q), non-negative, of normalised images (B,3,R,R)."""
        features: Tensor = self.body(images)
        return features


def chain(layers: Iterable[tuple[str, nn.Module]]) -> nn.Sequential:
    """The layers in their order, under their names."""
    body = nn.Sequential()
    for name, layer in layers:
        body.add_module(name, layer)
    return body
