"""What a way of training a network changes: the seam between the training loop and the methods of the field.

The loop owns data, optimiser, processes, precision and states; it asks a ``Method`` at four places. The methods for
weakly supervised localisation (hide a patch, mix two images, add a branch, drop a region) are subclasses.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from ...baselines.contracts import Backbone


class Method:
    """Plain cross entropy on the softmax head.

    Random numbers that a hook draws from torch's global generators follow the seed, the step and the part of the
    batch, so that an interrupted training stays reproducible; a method keeps no state between steps.

    Args:
        label_smoothing: Share of the target that is spread evenly over the classes.

    Attributes:
        name: What a training record calls the method.
        cam: The CAM method that reads the trained network at test time, as the method's paper does.
    """

    name: ClassVar[str] = "cross_entropy"
    cam: ClassVar[str] = "cam"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def change_network(self, network: Backbone) -> None:
        """Make ``network`` what is trained, before it is moved to its device; here: the softmax head alone."""
        for branch in [b for b in network.heads if b != "softmax"]:
            del network.heads[branch]

    def change_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B,3,S,S) float, normalised, and targets for ``loss``, of one part; labels are (B,) int64."""
        return images, labels

    def loss(self, network: Backbone, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss over the images (a scalar, float32) and the logits (B,C) by which top-1 is counted."""
        logits = network(images)
        return F.cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing), logits


class Objective(nn.Module):
    """A method's loss as one module: what runs inside autocast, and across processes.

    Args:
        network: The network that is trained.
        method: How it is trained.
    """

    def __init__(self, network: Backbone, method: Method) -> None:
        super().__init__()
        self.network, self._method = network, method

    def forward(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and logits of ``Method.loss``."""
        return self._method.loss(self.network, images, targets)
