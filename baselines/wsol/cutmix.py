"""CutMix."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from ..contracts import Backbone
from .wsol_method import Range, Terms, WsolMethod, register_wsol


@register_wsol("cutmix", title="CutMix", source="Yun et al., ICCV 2019; as in Choe et al., CVPR 2020")
class CutMix(WsolMethod):
    """A box of each image is taken from another image of the batch, and the loss is shared by the two labels.

    λ ~ Beta(β, β); the box has sides √(1−λ) of the image's around a centre drawn uniformly, and is clipped; λ becomes
    the share of the image outside the box. Loss: λ·CE(own label) + (1−λ)·CE(the other's). One draw a part of a batch.
    """

    search: ClassVar[Mapping[str, Range]] = {"beta": (0.01, 2.0), "probability": (0.0, 1.0)}
    beta: float = Field(default=1.0, gt=0)
    probability: float = Field(default=1.0, ge=0, le=1)
    """Of mixing a batch at all."""

    def change_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mixed images, and targets (B,3) float: own label, the other's label, λ."""
        mixed, order, share = self._mix(images)
        both = torch.stack([labels, labels[order], torch.zeros_like(labels)], 1).float()
        both[:, 2] = share
        return mixed, both

    def _mix(self, images: Tensor) -> tuple[Tensor, Tensor, float]:
        count, _, height, width = images.shape
        order = torch.arange(count, device=images.device)
        # Drawn on the CPU: the box is decided without waiting for the device.
        if float(torch.rand(())) >= self.probability:
            return images, order, 1.0
        share = beta_draw(self.beta)
        order = torch.randperm(count).to(images.device)
        left, top, right, bottom = box_of(share, width, height)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = images[order, :, top:bottom, left:right]
        return mixed, order, 1 - (right - left) * (bottom - top) / (width * height)

    def loss(self, network: Backbone, images: Tensor, targets: Tensor) -> tuple[Terms, Tensor]:
        """Loss shared by the two labels, and the logits."""
        logits = network(images)
        own, other = targets[:, 0].long(), targets[:, 1].long()
        first, second = (self.cross_entropy(logits, labels, each=True) for labels in (own, other))
        share = targets[:, 2].to(first.dtype)
        return (share * first + (1 - share) * second).mean(), logits


def beta_draw(beta: float) -> float:
    """One number of Beta(β, β), from two Gamma(β) of torch's CPU generator."""
    pair = torch._standard_gamma(torch.tensor([beta, beta], dtype=torch.float64))
    return float(pair[0] / pair.sum()) if float(pair.sum()) > 0 else 0.5


def box_of(share: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom (exclusive) of the box that leaves about ``share`` of the image, clipped to it."""
    cut = math.sqrt(1 - share)
    half_width, half_height = int(width * cut) // 2, int(height * cut) // 2
    x, y = int(torch.randint(width, ())), int(torch.randint(height, ()))
    left, right = max(x - half_width, 0), min(x + half_width, width)
    return left, max(y - half_height, 0), right, min(y + half_height, height)
