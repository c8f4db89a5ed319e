"""Layers that methods add to a network, and what they ask of the networks that they change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..contracts import Backbone
from ..heads.heads import GapLinear


def fresh(layer: nn.Conv2d | nn.Linear) -> None:
    """A convolution's or linear layer's first weights, uniform by Glorot and Bengio (2010), biases 0 (WE's start)."""
    nn.init.xavier_uniform_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def convolution_relu(inputs: int, outputs: int, norm: bool, kernel: int = 3) -> list[nn.Module]:
    """A convolution that keeps the size, BatchNorm where ``norm``, ReLU."""
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=not norm)
    fresh(conv)
    return [conv, *([nn.BatchNorm2d(outputs)] if norm else []), nn.ReLU()]


def one_channel(inputs: int, width: int, norm: bool) -> nn.Sequential:
    """3×3 convolution, ReLU, 1×1 convolution to one channel of logits."""
    last = nn.Conv2d(width, 1, 1)
    fresh(last)
    return nn.Sequential(*convolution_relu(inputs, width, norm), last)


def base_name(network: Backbone) -> str:
    """Name of the network without its 28×28 version's suffix and without suffixes."""
    return network.name.partition("+")[0].removesuffix("_28")


def body_of(network: Backbone) -> nn.Sequential | None:
    """The chain of layers before the head; None where the network has no such chain."""
    body = getattr(network, "body", None)
    return body if isinstance(body, nn.Sequential) else None


def set_body(network: Backbone, layers: list[tuple[str, nn.Module]]) -> None:
    """Give the network another chain of layers; the last one makes the feature map."""
    body = nn.Sequential()
    for name, layer in layers:
        body.add_module(name, layer)
    network.body = body
    network.feature_layer = f"body.{layers[-1][0]}"


def classifier_of(network: Backbone) -> nn.Linear:
    """The linear layer of a GAP + linear softmax head."""
    linear = network.get_submodule("heads.softmax.linear")
    assert isinstance(linear, nn.Linear)
    return linear


def set_classifier(network: Backbone, channels: int) -> None:
    """A fresh GAP + linear softmax head for features of ``channels``."""
    head = GapLinear(channels, network.num_classes)
    fresh(head.linear)
    network.heads["softmax"] = head


def class_map(network: Backbone, features: Tensor, target: Tensor) -> Tensor:
    """The class's channel (B,P,Q) of the classifier as a 1×1 convolution: row · features + bias, without gradient."""
    linear = classifier_of(network)
    with torch.no_grad():
        rows, bias = linear.weight[target], linear.bias[target]
        return torch.einsum("bn,bnpq->bpq", rows.to(features.dtype), features) + bias[:, None, None]
