"""A method's loss as one module: what the training loop runs inside autocast, and across processes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ....baselines.contracts import Backbone
from ....baselines.wsol import WsolMethod


class Objective(nn.Module):
    """Loss and logits of a network that is trained by a method.

    Attributes:
        terms: Names of the terms of the method's loss, once it was computed; empty where it is one number.

    Args:
        network: The network that is trained.
        method: How it is trained.
    """

    def __init__(self, network: Backbone, method: WsolMethod) -> None:
        super().__init__()
        self.network, self._method = network, method
        self.terms: tuple[str, ...] = ()

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and logits of ``WsolMethod.loss``, and the loss's terms (K,), detached."""
        found, logits = self._method.loss(self.network, images, targets)
        if isinstance(found, Tensor):
            return found, logits, found.detach()[None]
        self.terms = tuple(found)
        terms = list(found.values())
        return sum(terms[1:], terms[0]), logits, torch.stack([term.detach() for term in terms])
