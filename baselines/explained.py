"""A network and one head as a plain module from images to logits, for methods that put hooks on its layers."""

from __future__ import annotations

import copy
from typing import cast

from torch import Tensor, nn

from .base import Backbone, Head
from .heads import GapLinear


class PooledLinear(nn.Module):
    """GAP and linear as layers of their own, so that a rule for each applies; shares its parameters."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.pool, self.linear = nn.AdaptiveAvgPool2d(1), linear

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,P,Q)."""
        logits: Tensor = self.linear(self.pool(features).flatten(1))
        return logits


class Explained(nn.Module):
    """Normalised images (B,3,R,R) -> logits (B,C) of one head.

    Every layer is this module's own, so that hooks never reach the shared network, and works out of place; parameters
    and buffers are the network's.
    """

    def __init__(self, body: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,C) of normalised images (B,3,R,R)."""
        logits: Tensor = self.head(self.body.features(images))
        return logits


def explained(backbone: Backbone, head: Head) -> Explained:
    """The network under ``head`` with layers of its own."""
    shared = {id(t): t for module in (backbone, head) for t in (*module.parameters(), *module.buffers())}
    memo: dict[int, object] = {**shared, id(backbone.heads): nn.ModuleDict()}
    body = copy.deepcopy(backbone, memo)
    # An empty container is a layer without a rule to Captum.
    del body.heads
    net: nn.Module = copy.deepcopy(head, dict(shared))
    if isinstance(net, GapLinear):
        # In evaluation mode its subclasses (dropout before the linear layer) are the same function.
        net = PooledLinear(net.linear)
    whole = Explained(body, net).eval()
    for module in list(whole.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Identity:
                # Captum's LRP knows no Identity, but passes relevance through dropout.
                setattr(module, name, nn.Dropout(0.0).eval())
        if getattr(module, "inplace", False) is True:
            cast("nn.ReLU", module).inplace = False
    return whole
