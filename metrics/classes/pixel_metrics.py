"""Pixel average precision as a torchmetrics class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ...protocol import Protocol
from ..functional.maps import locate
from ..functional.pixels import bin_count, pious, pixel_histograms, pxap
from .box_metrics import digest_state, resolve_protocol


class PxAP(Metric):
    """Pixel average precision in percent, from int64 histograms with exact bins.

    Args:
        protocol: Protocol or its name: map rule, size, threshold grid.
        **kwargs: Arguments of ``torchmetrics.Metric``.

    Source: Choe et al., CVPR 2020, §3.2; wsolevaluation, ``MaskEvaluator``.

    Examples:
        >>> metric = PxAP()
        >>> maps, masks = torch.zeros(1, 224, 224), torch.zeros(1, 224, 224, dtype=torch.uint8)
        >>> maps[:, 50:100, 50:100], masks[:, 50:100, 50:100] = 1, 1
        >>> metric.update(maps, masks)
        >>> metric.compute()
        tensor(100., dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    histogram: Tensor
    degenerate: Tensor
    invalid: Tensor

    def __init__(self, protocol: Protocol | str = "paper", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.protocol = resolve_protocol(protocol)
        bins = bin_count(self.protocol.tau_grid)
        key = digest_state(
            size=self.protocol.size, rule=self.protocol.map_rule.model_dump(), grid=self.protocol.tau_grid
        )
        self.add_state("histogram", torch.zeros(2, bins, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("degenerate", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("invalid", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("pixel_key", key, dist_reduce_fx="max")

    def update(self, maps: Tensor, masks: Tensor, image_ids: Sequence[str] | None = None) -> None:
        """Add raw score maps (B,h,w) of any floating dtype and masks uint8 (B,R,R): 0, 1, 255 = ignored.

        Raises:
            ValueError: Wrong shapes, or (on the CPU; else in ``compute``) other mask values, naming the image.
        """
        rule = self.protocol.map_rule
        _, norm, flags = locate(maps.detach(), rule, self.protocol.size)
        for kind in (1, 2):
            self.degenerate[kind - 1] += (flags == kind).sum()
        histograms = pixel_histograms(norm, masks, self.protocol.tau_grid, image_ids)
        self.histogram += histograms.clamp_min(0).sum(0)
        self.invalid += (histograms < 0).flatten(1).any(1).sum()

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        return torch.tensor(pxap(self._counted()), dtype=torch.float64, device=self.histogram.device)

    def _counted(self) -> Tensor:
        """The histogram (2,K); ``ValueError`` where a mask was none."""
        if int(self.invalid):
            raise ValueError(
                f"{type(self).__name__}: the masks of {int(self.invalid)} images have values other than 0, 1, 255"
            )
        return self.histogram


class PIoU(PxAP):
    """Peak IoU in percent: the best IoU of the pixels of all images with the masks, over the thresholds.

    Args:
        protocol: Protocol or its name: map rule, size, threshold grid.
        **kwargs: Arguments of ``torchmetrics.Metric``.

    Source: as ``functional.pixels.pious``.

    Examples:
        >>> metric = PIoU()
        >>> maps, masks = torch.zeros(1, 224, 224), torch.zeros(1, 224, 224, dtype=torch.uint8)
        >>> maps[:, 50:100, 50:100], masks[:, 50:100, 50:100] = 1, 1
        >>> metric.update(maps, masks)
        >>> metric.compute()
        tensor(100., dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        return pious(self._counted()[None])[0]
