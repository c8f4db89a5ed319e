"""A method's loss as one module: what the training loop runs inside autocast, and across processes."""

from __future__ import annotations

from torch import Tensor, nn

from ....baselines.contracts import Backbone
from ....baselines.wsol import WsolMethod


class Objective(nn.Module):
    """Loss and logits of a network that is trained by a method.

    Args:
        network: The network that is trained.
        method: How it is trained.
    """

    def __init__(self, network: Backbone, method: WsolMethod) -> None:
        super().__init__()
        self.network, self._method = network, method

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and logits of ``WsolMethod.loss``."""
        return self._method.loss(self.network, images, targets)
