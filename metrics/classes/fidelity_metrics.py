"""Fidelity and classification metrics as torchmetrics classes.

Scores per image are kept (16 bytes for each image), so that a mean does not depend on how a run was cut into batches or
processes, and equals the one computed from records to the last bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from ..functional.classification import top_k_hits
from ..functional.fidelity import average_drop, average_gain, evidence_precision, increase_in_confidence, mean_percent


class ScorePairs(Metric):
    """Class scores Y on images and O on masked images; the metrics on them share one update.

    The protocol's fidelity fields (score, image space, where the mask is normalised) decide how Y and O are made;
    that is the engine's work. A degenerate map masks everything.

    Examples:
        >>> metric = AverageDrop()
        >>> metric.update(y=torch.tensor([0.8]), o=torch.tensor([0.4]))
        >>> [len(scores) for scores in metric.scores()]
        [1, 1]
    """

    is_differentiable = False
    full_state_update = False
    y: list[Tensor]
    o: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("y", [], dist_reduce_fx="cat")
        self.add_state("o", [], dist_reduce_fx="cat")

    def update(self, y: Tensor, o: Tensor) -> None:
        """Add a batch of scores Y (B,) and O (B,), any floating dtype; ValueError if their shapes differ."""
        if y.ndim != 1 or y.shape != o.shape:
            raise ValueError(f"expected scores Y and O of one shape (B,), got {tuple(y.shape)} and {tuple(o.shape)}")
        self.y.append(y.detach().to(torch.float64))
        self.o.append(o.detach().to(torch.float64))

    def scores(self) -> tuple[Tensor, Tensor]:
        """All Y (n,) and O (n,)."""
        if len(self.y) == 0:
            raise ValueError(f"{type(self).__name__}: no image to score; call update() first")
        return dim_zero_cat(self.y), dim_zero_cat(self.o)


class AverageDrop(ScorePairs):
    """Average Drop in percent, lower is better: 100·mean( relu(Y − O) / Y ).

    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018, §4.1.

    Examples:
        >>> metric = AverageDrop()
        >>> metric.update(torch.tensor([0.8, 0.5]), torch.tensor([0.4, 0.6]))
        >>> round(float(metric.compute()), 4)
        25.0
    """

    higher_is_better = False

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        return average_drop(*self.scores())


class IncreaseInConfidence(ScorePairs):
    """Increase in Confidence in percent, higher is better: 100·mean( O > Y ). Source: as AverageDrop.

    Examples:
        >>> metric = IncreaseInConfidence()
        >>> metric.update(torch.tensor([0.8, 0.5]), torch.tensor([0.4, 0.6]))
        >>> metric.compute()
        tensor(50., dtype=torch.float64)
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        return increase_in_confidence(*self.scores())


class AverageGain(ScorePairs):
    """Average Gain in percent, higher is better: 100·mean( relu(O − Y) / (1 − Y) ).

    Source: Zhang et al., Opti-CAM, CVIU 2024, Eq. 18.

    Examples:
        >>> metric = AverageGain()
        >>> metric.update(torch.tensor([0.5, 0.5]), torch.tensor([0.4, 0.75]))
        >>> metric.compute()
        tensor(25., dtype=torch.float64)
    """

    higher_is_better = True

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        return average_gain(*self.scores())


class ValueMean(Metric):
    """Mean in percent of one value in [0, 1] per image; the base of metrics with such values.

    Examples:
        >>> metric = EvidencePrecision()
        >>> metric.update(torch.ones(1, 2, 2), torch.tensor([[[True, False], [False, False]]]))
        >>> [len(values) for values in metric.values]
        [1]
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    values: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("values", [], dist_reduce_fx="cat")

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        if len(self.values) == 0:
            raise ValueError(f"{type(self).__name__}: no image to score; call update() first")
        return mean_percent(dim_zero_cat(self.values), type(self).__name__, "its value is NaN or infinite")


class EvidencePrecision(ValueMean):
    """Share of the positive map's mass on the evidence mask, in percent.

    Examples:
        >>> metric = EvidencePrecision()
        >>> metric.update(torch.ones(1, 2, 2), torch.tensor([[[True, False], [False, False]]]))
        >>> metric.compute()
        tensor(25., dtype=torch.float64)
    """

    def update(self, maps: Tensor, evidence: Tensor) -> None:
        """Add maps (B,R,R), whose negative values do not count, and evidence bool (B,R,R)."""
        self.values.append(evidence_precision(maps.detach().clamp_min(0), evidence))


class Top1Cls(Metric):
    """Top-1 accuracy of the softmax branch in percent.

    Examples:
        >>> metric = Top1Cls()
        >>> metric.update(torch.tensor([1, 2]), torch.tensor([1, 3]))
        >>> metric.compute()
        tensor(50., dtype=torch.float64)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    right: Tensor
    images: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("right", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("images", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, labels: Tensor) -> None:
        """Add predicted classes (B,) and labels (B,), integers."""
        if predicted.shape != labels.shape:
            raise ValueError(f"expected one shape (B,), got {tuple(predicted.shape)} and {tuple(labels.shape)}")
        self.right += (predicted == labels).sum()
        self.images += len(labels)

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        if int(self.images) == 0:
            raise ValueError("Top1Cls: no image to score; call update() first")
        return 100.0 * self.right.to(torch.float64) / self.images


class Top5Cls(Top1Cls):
    """Top-5 accuracy of the softmax branch in percent: the label is among the five classes of highest score.

    Source: as ``functional.classification.top_k_hits``.

    Examples:
        >>> metric = Top5Cls()
        >>> metric.update(torch.arange(7.0).repeat(2, 1), torch.tensor([2, 1]))
        >>> metric.compute()
        tensor(50., dtype=torch.float64)
    """

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add class scores (B,C) and labels (B,), integers."""
        hits = top_k_hits(logits.detach(), labels, 5)
        super().update(torch.where(hits, labels, -1), labels)
