"""Thresholded average pooling: of each channel only the cells count that are a good part of its maximum."""

from __future__ import annotations

import torch
from torch import Tensor

from ..contracts import HeadKind
from .heads import GapLinear, reset

THRESHOLD = 0.1
"""Of the configuration that Rethinking CAM's authors published."""


def thresholded_mean(features: Tensor, threshold: float) -> Tensor:
    """TAP (B,N) of features (B,N,P,Q): Σ F·[F > threshold·max F] / Σ [F > threshold·max F], 0 where no cell counts.

    Maximum, sums and count are each channel's over its cells; the condition has no gradient. On features above 0 a
    threshold of 0 makes it the mean. It is never negative.

    Source: Bae et al., Rethinking Class Activation Mapping, ECCV 2020, §3.1.
    """
    counted = features > threshold * features.amax((-2, -1), keepdim=True)
    sums = torch.where(counted, features, 0).sum((-2, -1))
    return sums / counted.sum((-2, -1)).clamp_min(1)


class TapLinear(GapLinear):
    """Thresholded average pooling and one linear layer: logits = W · TAP(F) + b.

    The class map is W · F, of all features, as on a GAP + linear head, but its mean is no longer the logit without the
    bias: that is the sum over the cells of HiRes-CAM's map, in which a cell below its channel's threshold weighs
    nothing. Grad-CAM's weights are W divided by P·Q on both heads where at least one cell of the channel counts.

    Args:
        channels: Channels N of the features.
        num_classes: Classes C.
        bias: Whether the linear layer has one.
        threshold: Share of a channel's maximum in [0, 1) that a cell must exceed.

    Raises:
        ValueError: The threshold is out of range.
    """

    kind: HeadKind = "tap_linear"

    def __init__(self, channels: int, num_classes: int, bias: bool = True, threshold: float = THRESHOLD) -> None:
        super().__init__(channels, num_classes, bias)
        if not 0 <= threshold < 1:
            raise ValueError(f"the threshold of TAP is a share of a channel's maximum in [0, 1), got {threshold}")
        self.threshold = threshold

    def pooled(self, features: Tensor) -> Tensor:
        """TAP (B,N) of features (B,N,P,Q)."""
        return thresholded_mean(features, self.threshold)

    def condense(self, features: Tensor) -> Tensor:
        """The pooled features (B,N,1,1), which pooling leaves as they are."""
        return self.pooled(features)[:, :, None, None]

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> TapLinear:
        """The same architecture with new parameters on the same device."""
        weight, bias = self.linear.weight, self.linear.bias is not None
        head = TapLinear(weight.shape[1], num_classes or self.num_classes, bias, self.threshold)
        reset(head, generator)
        return head.to(weight.device, weight.dtype)
