"""ROAD, sensitivity-n and the similarity of maps as torchmetrics classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..functional.removal import road_curves
from ..functional.similarity import rank_correlation, structural_similarity
from ..functional.subsets import sensitivity_n
from .fidelity_metrics import ValueMean

BatchScore = Callable[[Tensor, Tensor], Tensor]
"""Scores (B,) of images (B,C,R,R) for their classes (B,)."""


class RoadMoRF(ValueMean):
    """Mean class score in percent after the most relevant pixels are removed and imputed; lower is better.

    Args:
        score: ``score(images (B,C,R,R), target (B,)) -> (B,)``, in [0, 1].
        percents: Shares of the pixels, in percent, that are removed.
        **kwargs: Arguments of ``torchmetrics.Metric``.

    Source: Rong et al., ICML 2022, §4.

    Examples:
        >>> import torch
        >>> metric = RoadMoRF(lambda images, target: images.mean((1, 2, 3)), percents=[50.0])
        >>> images = torch.zeros(1, 3, 8, 8)
        >>> images[..., :4] = 1.0
        >>> metric.update(images, images[:, 0], torch.tensor([0]), torch.zeros_like(images))
        >>> bool(metric.compute() < 10)
        True
    """

    higher_is_better = False

    def __init__(self, score: BatchScore, percents: Sequence[float], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score, self.percents = score, tuple(percents)

    def update(self, images: Tensor, maps: Tensor, target: Tensor, noise: Tensor) -> None:
        """Add images (B,C,R,R) in [0, 1], maps (B,R,R), classes (B,), and the noise (B,C,R,R) of removed pixels."""
        self.values.append(self._values(images, maps, target, noise))

    def _values(self, images: Tensor, maps: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        return self._mean_score(images, maps, target, noise)

    def _mean_score(self, images: Tensor, order: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        return road_curves(lambda x: self.score(x, target), images, order.detach(), self.percents, noise).mean(1)


class RoadLeRF(RoadMoRF):
    """Mean class score in percent after the least relevant pixels are removed and imputed; higher is better.

    Source: as RoadMoRF.

    Examples:
        >>> import torch
        >>> metric = RoadLeRF(lambda images, target: images.mean((1, 2, 3)), percents=[50.0])
        >>> images = torch.zeros(1, 3, 8, 8)
        >>> images[..., :4] = 1.0
        >>> metric.update(images, images[:, 0], torch.tensor([0]), torch.zeros_like(images))
        >>> bool(metric.compute() > 90)
        True
    """

    higher_is_better = True

    def _values(self, images: Tensor, maps: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        return self._mean_score(images, -maps, target, noise)


class Road(RoadMoRF):
    """(LeRF − MoRF) / 2 in percent, higher is better; as pytorch-grad-cam combines them.

    Source: as RoadMoRF.

    Examples:
        >>> import torch
        >>> metric = Road(lambda images, target: images.mean((1, 2, 3)), percents=[50.0])
        >>> images = torch.zeros(1, 3, 8, 8)
        >>> images[..., :4] = 1.0
        >>> metric.update(images, images[:, 0], torch.tensor([0]), torch.zeros_like(images))
        >>> bool(metric.compute() > 40)
        True
    """

    higher_is_better = True

    def _values(self, images: Tensor, maps: Tensor, target: Tensor, noise: Tensor) -> Tensor:
        least, most = (self._mean_score(images, order, target, noise) for order in (-maps, maps))
        return (least - most) / 2


class PlainMean(ValueMean):
    """Mean of one value an image, in no unit; the base of correlations and similarities.

    Examples:
        >>> import torch
        >>> metric = MapRankCorrelation()
        >>> metric.update(torch.arange(4.0).view(1, 2, 2), torch.arange(4.0).view(1, 2, 2))
        >>> round(float(metric.compute()), 6)
        1.0
    """

    def compute(self) -> Tensor:
        """Mean, float64 ()."""
        return super().compute() / 100


class SensitivityN(PlainMean):
    """Mean correlation, in [−1, 1], of a map's sum over random squares with what the score loses without them.

    Args:
        score: As of ``RoadMoRF``.
        percents: Sizes of the subsets in percent of the squares.
        cell: Side of a square in pixels.
        **kwargs: Arguments of ``torchmetrics.Metric``.

    Source: Ancona et al., ICLR 2018, §4.

    Examples:
        >>> import torch
        >>> metric = SensitivityN(lambda images, target: images.mean((1, 2, 3)), percents=[50.0], cell=2)
        >>> images, keys = torch.rand(1, 3, 4, 4), torch.rand(1, 1, 5, 4)
        >>> metric.update(images, images.mean(1), torch.tensor([0]), keys)
        >>> round(float(metric.compute()), 4)
        1.0
    """

    def __init__(self, score: BatchScore, percents: Sequence[float], cell: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.score, self.percents, self.cell = score, tuple(percents), cell

    def update(self, images: Tensor, maps: Tensor, target: Tensor, keys: Tensor) -> None:
        """Add images (B,C,R,R), maps (B,R,R), classes (B,) and the subsets' ``keys`` (``functional.subsets``)."""
        found = sensitivity_n(lambda x: self.score(x, target), images, maps.detach(), self.percents, keys, self.cell)
        self.values.append(found)


class MapSSIM(PlainMean):
    """Mean SSIM of maps before and after something that should change them; lower is better.

    For cascading weight randomisation (Adebayo et al., NeurIPS 2018) update it once a step, for logit randomisation
    (Sixt et al., ICML 2020) with the maps of another class. Source: Wang et al., TIP 2004.

    Examples:
        >>> import torch
        >>> metric = MapSSIM()
        >>> ramp = torch.linspace(0, 1, 16).expand(1, 16, 16)
        >>> metric.update(ramp, ramp)
        >>> round(float(metric.compute()), 6)
        1.0
    """

    higher_is_better = False

    def update(self, maps: Tensor, others: Tensor) -> None:
        """Add maps (B,R,R) in [0, 1] and what they became (B,R,R)."""
        self.values.append(structural_similarity(maps.detach(), others.detach()))


class MapRankCorrelation(PlainMean):
    """Mean Spearman correlation of maps before and after something that should change them; lower is better.

    As ``MapSSIM``. Source: Spearman, 1904.

    Examples:
        >>> import torch
        >>> metric = MapRankCorrelation()
        >>> metric.update(torch.arange(4.0).view(1, 2, 2), -torch.arange(4.0).view(1, 2, 2))
        >>> round(float(metric.compute()), 6)
        -1.0
    """

    higher_is_better = False

    def update(self, maps: Tensor, others: Tensor) -> None:
        """Add maps (B,R,R) and what they became (B,R,R)."""
        self.values.append(rank_correlation(maps.detach(), others.detach()))
