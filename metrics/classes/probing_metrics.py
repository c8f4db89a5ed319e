"""Insertion, deletion and the pointing games as torchmetrics classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..functional.perturbation import area_under, perturbation_curves
from ..functional.pointing import energy_in_region, pointing_hits
from .fidelity_metrics import ValueMean

ScoreOf = Callable[[Tensor, int], Tensor]
"""Class scores (N,) of images (N,3,R,R) that derive from image ``index`` of the batch."""


class Deletion(ValueMean):
    """Area under the deletion curve in percent, lower is better: salient pixels turn into the baseline.

    Args:
        score: ``score(images (N,3,R,R), index) -> (N,)``: scores of the class that image ``index`` of the batch has.
        steps: Steps of a curve.
        **kwargs: Arguments of ``torchmetrics.Metric``.

    Source: Petsiuk et al., RISE, BMVC 2018, §3.3.

    Examples:
        >>> metric = Deletion(lambda images, index: images.mean((1, 2, 3)), steps=4)
        >>> images = torch.ones(1, 3, 4, 4)
        >>> metric.update(images, torch.zeros_like(images), torch.arange(16.0).view(1, 4, 4))
        >>> metric.compute()
        tensor(50., dtype=torch.float64)
    """

    higher_is_better = False

    def __init__(self, score: ScoreOf, steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score, self.steps = score, steps

    def update(self, images: Tensor, baseline: Tensor, maps: Tensor) -> None:
        """Add images (B,3,R,R), what replaces their pixels (B,3,R,R; zeros as published), and maps (B,R,R)."""
        self._add(images, baseline, maps)

    def _add(self, start: Tensor, end: Tensor, maps: Tensor) -> None:
        if not len(start) == len(end) == len(maps):
            raise ValueError(f"expected one map per image, got {len(start)}, {len(end)} and {len(maps)}")
        # One forward batch an image: its steps alone fill the device.
        for i in range(len(start)):
            curve = perturbation_curves(lambda x, i=i: self.score(x, i), start[i], end[i], maps[i : i + 1], self.steps)  # type: ignore[misc]
            self.values.append(area_under(curve))


class Insertion(Deletion):
    """Area under the insertion curve in percent, higher is better: salient pixels appear on the baseline.

    The published baseline is the blurred image (``functional.perturbation.blur``, width 11, sigma 5).
    Source: as Deletion.

    Examples:
        >>> metric = Insertion(lambda images, index: images.mean((1, 2, 3)), steps=4)
        >>> images = torch.ones(1, 3, 4, 4)
        >>> metric.update(images, torch.zeros_like(images), torch.arange(16.0).view(1, 4, 4))
        >>> metric.compute()
        tensor(50., dtype=torch.float64)
    """

    higher_is_better = True

    def update(self, images: Tensor, baseline: Tensor, maps: Tensor) -> None:
        """Add images (B,3,R,R), what they grow from (B,3,R,R), and maps (B,R,R)."""
        self._add(baseline, images, maps)


class PointingGame(ValueMean):
    """Share of maps in percent whose highest pixel lies within ``tolerance`` pixels of the region.

    Source: Zhang et al., ECCV 2016, §4.1 (tolerance 15).

    Examples:
        >>> metric = PointingGame(tolerance=2)
        >>> maps, regions = torch.zeros(1, 9, 9), torch.zeros(1, 9, 9, dtype=torch.bool)
        >>> maps[0, 4, 4], regions[0, 4, 6] = 1.0, True
        >>> metric.update(maps, regions)
        >>> metric.compute()
        tensor(100., dtype=torch.float64)
    """

    def __init__(self, tolerance: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tolerance = tolerance

    def update(self, maps: Tensor, regions: Tensor) -> None:
        """Add maps (B,R,R) and regions bool (B,R,R) (``functional.pointing.box_regions`` of boxes, or masks)."""
        self.values.append(pointing_hits(maps.detach(), regions, self.tolerance).to(torch.float64))


class EnergyPointingGame(ValueMean):
    """Share of the positive map's mass within the region, in percent. Source: Wang et al., Score-CAM, CVPRW 2020.

    Examples:
        >>> metric = EnergyPointingGame()
        >>> metric.update(torch.ones(1, 2, 2), torch.tensor([[[True, False], [False, False]]]))
        >>> metric.compute()
        tensor(25., dtype=torch.float64)
    """

    def update(self, maps: Tensor, regions: Tensor) -> None:
        """Add maps (B,R,R), whose negative values do not count, and regions bool (B,R,R)."""
        self.values.append(energy_in_region(maps.detach().clamp_min(0), regions))
