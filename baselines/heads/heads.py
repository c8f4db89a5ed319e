"""Heads: everything after the target feature map, and the four ways in which a branch's evidence is read."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Head, HeadKind, HeadSpec, register_head

FRESH_STD = 0.01
"""Standard deviation of fresh linear weights (the code of the paper's authors)."""


class GapLinear(Head):
    """Global average pooling and one linear layer: logits = W · mean(F) + b."""

    kind: HeadKind = "gap_linear"
    classifiers = ("linear",)

    def __init__(self, channels: int, num_classes: int, bias: bool = True) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.linear = nn.Linear(channels, num_classes, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,P,Q)."""
        return F.linear(self.pooled(features).to(self.linear.weight.dtype), self.linear.weight, self.linear.bias)

    def class_weights(self, target: Tensor) -> Tensor:
        """Rows (B,N) of the linear layer for classes ``target`` (B,)."""
        return self.linear.weight[target]

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> GapLinear:
        """The same architecture with new parameters on the same device."""
        weight = self.linear.weight
        head = GapLinear(weight.shape[1], num_classes or self.num_classes, self.linear.bias is not None)
        reset(head, generator)
        return head.to(weight.device, weight.dtype)


def gap_linear_of(classifier: nn.Linear | nn.Conv2d) -> GapLinear:
    """GAP and the weights of a linear layer or a 1×1 convolution; the parameters are shared, not copied."""
    gap = GapLinear(classifier.weight.shape[1], classifier.weight.shape[0], classifier.bias is not None)
    gap.linear.weight.data = classifier.weight.detach().flatten(1)
    if classifier.bias is not None:
        gap.linear.bias.data = classifier.bias.detach()
    return gap


class MlpHead(Head):
    """Adaptive average pooling to k×k, flatten, then Linear-ReLU-Dropout for each hidden layer and a last Linear (VGG).

    Args:
        channels: Channels N of the features.
        num_classes: Classes C.
        hidden: Widths of the hidden layers.
        pool: Side k of the pooled map.
        dropout: Dropout probability after each hidden layer.
    """

    kind: HeadKind = "mlp"

    def __init__(
        self, channels: int, num_classes: int, hidden: tuple[int, ...], pool: int = 7, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self._shape = (channels, hidden, pool, dropout)
        self.pool = nn.AdaptiveAvgPool2d(pool)
        layers: list[nn.Module] = []
        width = channels * pool * pool
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), nn.ReLU(), nn.Dropout(dropout)]
            width = next_width
        self.mlp = nn.Sequential(*layers, nn.Linear(width, num_classes))
        self.classifiers = (f"mlp.{len(layers)}",)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,P,Q)."""
        logits: Tensor = self.mlp(self.pool(features).flatten(1))
        return logits

    def condense(self, features: Tensor) -> Tensor:
        """The pooled features (B,N,k,k), which pooling leaves as they are; smaller features themselves."""
        return self.pool(features) if features[0, 0].numel() > self._shape[2] ** 2 else features

    def first_linear(self) -> tuple[nn.Linear, nn.Module]:
        """The first layer of the MLP and the others."""
        return cast(nn.Linear, self.mlp[0]), self.mlp[1:]

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> MlpHead:
        """The same architecture with new parameters on the same device."""
        channels, hidden, pool, dropout = self._shape
        # Without the default parameters of 120 million weights, which `reset` replaces.
        with torch.device("meta"):
            head = MlpHead(channels, num_classes or self.num_classes, hidden, pool, dropout)
        reset(head.to_empty(device="cpu"), generator)
        like = next(self.parameters())
        return head.to(like.device, like.dtype)


class ModuleHead(Head):
    """Any module from features (B,N,P,Q) to logits (B,C), for networks whose head is not GAP + linear.

    Args:
        net: The module. In-place activations are switched off, as the features are shared by all methods.
        num_classes: Classes C.
        classifiers: Qualified names, inside ``net``, of the last layers (Linear or 1×1 convolution; usually one).
    """

    def __init__(self, net: nn.Module, num_classes: int, classifiers: tuple[str, ...]) -> None:
        super().__init__()
        self.net, self.num_classes = net, num_classes
        self.classifiers = tuple(f"net.{name}" for name in classifiers)
        for module in net.modules():
            if getattr(module, "inplace", False) is True:
                module.inplace = False  # type: ignore[assignment]

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,P,Q)."""
        logits: Tensor = self.net(features)
        # A head may squeeze a single image's logits.
        return logits.reshape(1, -1) if logits.ndim < 2 and len(features) == 1 else logits

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> ModuleHead:
        """The same architecture with new parameters on the same device."""
        classes = num_classes or self.num_classes
        head = copy.deepcopy(self)
        if classes != self.num_classes:
            for name in self.classifiers:
                parent, _, leaf = name.rpartition(".")
                setattr(head.get_submodule(parent), leaf, with_outputs(head.get_submodule(name), classes))
            head.num_classes = classes
        reset(head, generator)
        return head.requires_grad_(True)


def reset(module: nn.Module, generator: torch.Generator | None = None) -> None:
    """New parameters in place: linear and convolution weights N(0, 0.01), biases 0, normalisation layers as new.

    The random numbers are drawn on the CPU, so that a seed gives the same weights on every device.
    """
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                draw = torch.randn(layer.weight.shape, generator=generator)
                layer.weight.copy_(draw.mul_(FRESH_STD))
                if layer.bias is not None:
                    layer.bias.zero_()
            elif next(layer.parameters(recurse=False), None) is not None:
                renew = getattr(layer, "reset_parameters", None)
                if not callable(renew):
                    raise TypeError(f"cannot give fresh parameters to a {type(layer).__name__}: no reset_parameters()")
                renew()


def with_outputs(layer: nn.Module, outputs: int) -> nn.Module:
    """A new Linear layer or 1×1 convolution like ``layer`` with other outputs; TypeError for other layers."""
    if isinstance(layer, nn.Linear):
        new: nn.Module = nn.Linear(layer.in_features, outputs, layer.bias is not None)
    elif isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1):
        new = nn.Conv2d(layer.in_channels, outputs, 1, bias=layer.bias is not None)
    else:
        raise TypeError(f"the classifier is a {type(layer).__name__}; expected a Linear layer or a 1×1 convolution")
    return new.to(layer.weight.device, layer.weight.dtype)


SOFTMAX = register_head(HeadSpec("softmax", "softmax", False, "softmax", "the network's own classifier"))
SOFTMAX_CLAMPED = register_head(
    HeadSpec("softmax_clamped", "softmax", True, "softmax, clamped", "Bae et al., Rethinking CAM, ECCV 2020: NWC")
)
SIGMOID = register_head(HeadSpec("sigmoid", "sigmoid", True, "sigmoid (ours)", "Beyond Softmax, BMVC 2025, §3.3"))
SIGMOID_SIGNED = register_head(
    HeadSpec("sigmoid_signed", "sigmoid", False, "sigmoid, signed", "Beyond Softmax's branch without its clamp")
)
TOKEN_SEMANTIC = register_head(
    HeadSpec("token_semantic", "semantic", False, "token semantic", "Gao et al., TS-CAM, ICCV 2021, §3", named=True)
)
"""A convolution from patch tokens to class maps, trained by cross entropy on frozen tokens; class-token networks."""
