"""What a network's outputs are read as: one logit z as two classes, probabilities as the logits behind them.

One logit is a sigmoid with two readings: class 1 with the score σ(z), class 0 with 1 − σ(z) = σ(−z).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..contracts import Backbone, Head
from .heads import GapLinear

EPS = 1e-7
"""Probabilities are read as logits this far from 0 and 1."""


class TwoReadings(Head):
    """A head of one logit z as one of two classes: logits (−z, z), so that evidence of class 0 is the negated logit.

    Args:
        head: The head of one logit.
    """

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head, self.num_classes, self.context_rows = head, 2, head.context_rows
        # A fresh head of two classes has two logits of its own: no layer's first dimension is the class count here.
        self.classifiers = ()

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,2) of features (B,N,P,Q)."""
        return both(self.head(features))

    def condense(self, features: Tensor) -> Tensor:
        """What the head of one logit keeps of the features."""
        return self.head.condense(features)

    def whole_network(self) -> nn.Module | None:
        """The network of one logit, read twice."""
        one = self.head.whole_network()
        return None if one is None else nn.Sequential(one, Both())

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> Head:
        """The same architecture with new parameters; two classes are again two readings of one logit."""
        if num_classes not in (None, 2):
            return self.head.fresh(generator, num_classes)
        fresh = TwoReadings(self.head.fresh(generator))
        fresh.requires_grad_(True)
        return fresh


class Both(nn.Module):
    """Logits (−z, z) of z (B,1), as a layer."""

    def forward(self, logit: Tensor) -> Tensor:
        """(B,2) of (B,1)."""
        return both(logit)


class LogitOfProbability(nn.Module):
    """The logits behind probabilities that a network ends in: log p/(1 − p), p kept ``EPS`` from 0 and 1."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, given: Tensor) -> Tensor:
        """Logits (B,C) where ``net`` gives probabilities (B,C)."""
        return torch.logit(self.net(given), eps=EPS)


class LogitsOfSoftmax(nn.Module):
    """The logits behind a final softmax: what ``layer`` returns, else log p, which the softmax makes p again.

    Args:
        net: What gives probabilities (B,C) of its input.
        layer: The layer of it whose outputs are the logits; empty where there is none.
    """

    def __init__(self, net: nn.Module, layer: str) -> None:
        super().__init__()
        self.net, self._layer = net, layer

    def forward(self, given: Tensor) -> Tensor:
        """Logits (B,C) where ``net`` gives probabilities (B,C)."""
        with LayerOutput(self.net, self._layer) as made:
            return logits_of_softmax(self.net(given), made)


class LayerOutput(list[Tensor]):
    """While entered: the outputs of a layer of a network, as they come; of no layer where its name is empty."""

    def __init__(self, net: nn.Module, layer: str) -> None:
        super().__init__()
        self._net, self._layer = net, layer
        self._handle: Any = None

    def __enter__(self) -> LayerOutput:
        if self._layer:
            self._handle = self._net.get_submodule(self._layer).register_forward_hook(lambda *c: self.append(c[2]))
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()


def logits_of_softmax(probabilities: Tensor, made: Sequence[Tensor]) -> Tensor:
    """Logits (B,C) of a softmax's probabilities: the last of what a layer ``made``; log p where it made nothing."""
    if made:
        return made[-1].reshape(probabilities.shape)
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def both(logit: Tensor) -> Tensor:
    """Logits (B,2) of one logit (B,1): −z of class 0, z of class 1."""
    return torch.cat((-logit, logit), 1)


def two_readings(head: Head) -> Head:
    """A head of one logit as one of two classes; GAP + linear stays GAP + linear."""
    if not isinstance(head, GapLinear):
        return TwoReadings(head).eval()
    linear = head.linear
    made = GapLinear(linear.in_features, 2, linear.bias is not None).to(linear.weight.device, linear.weight.dtype)
    made.linear.weight.data = both(linear.weight.detach().T).T.contiguous()
    if linear.bias is not None:
        made.linear.bias.data = both(linear.bias.detach()[None])[0]
    return made.eval()


def make_binary(backbone: Backbone) -> None:
    """Read a network of one logit as one of two classes; one class name is that of the logit's class."""
    backbone.heads["softmax"] = two_readings(backbone.head("softmax"))
    backbone.num_classes, backbone.activation = 2, "sigmoid"
    if len(backbone.class_names) == 1:
        backbone.class_names = (f"not {backbone.class_names[0]}", backbone.class_names[0])
