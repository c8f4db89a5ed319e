"""Localisation metrics on boxes, as torchmetrics classes that share one update."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from ...protocol import PROTOCOLS, Protocol
from ..functional import localisation
from ..functional.boxes import level_ious, quantize
from ..functional.classification import top_k_hits
from ..functional.localisation import hit_counts, percent, tau_grid
from ..functional.maps import locate
from ..functional.no_contour import reference_levels

RULES = ("multi", "single", "single_first")


def resolve_protocol(protocol: Protocol | str) -> Protocol:
    """A protocol object, or the registered one of that name.

    Examples:
        >>> resolve_protocol("wsoleval").loc_threshold
        'oracle'
    """
    return PROTOCOLS.get(protocol) if isinstance(protocol, str) else protocol


def digest_state(**fields: Any) -> Tensor:
    """Eight numbers, int64, that differ wherever a field differs: keeps compute groups of unlike metrics apart.

    Examples:
        >>> bool((digest_state(tau=0.2) == digest_state(tau=0.3)).all())
        False
    """
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).digest()
    return torch.from_numpy(np.frombuffer(digest[:16], np.uint16).astype(np.int64))


class BoxMetric(Metric):
    """Counts of located images per IoU threshold, contour rule and threshold τ; memory does not grow with images.

    Metrics of one protocol have the same state, so that a ``MetricCollection`` updates them once. Counts are int64:
    sums over batches and processes are exact, and equal to what ``functional.localisation`` finds in records.

    Args:
        protocol: Protocol or its name: map rule, size, threshold grid, IoU thresholds, box rule, location threshold.
        iou_thresholds: IoU thresholds δ instead of the protocol's (MaxBoxAccV2).
        tau: Location threshold τ chosen on the validation split (``loc_threshold="val"``).
        **kwargs: Arguments of ``torchmetrics.Metric``.

    Raises:
        ValueError: ``tau`` missing where the protocol takes it from the validation split, or out of [0, 1].

    Examples:
        >>> metric = GTKnownLoc(tau=0.3)
        >>> metric.update(torch.rand(2, 7, 7), [np.array([[0, 0, 100, 100]])] * 2)
        >>> int(metric.total), metric.curve(0.5, "multi").shape
        (2, torch.Size([1000]))
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    counts: Tensor
    total: Tensor
    judged: Tensor
    degenerate: Tensor

    def __init__(
        self,
        protocol: Protocol | str = "paper",
        *,
        iou_thresholds: Sequence[float] | None = None,
        tau: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.protocol = resolve_protocol(protocol)
        if iou_thresholds is not None:
            fields = self.protocol.model_dump() | {"iou_thresholds": tuple(iou_thresholds)}
            self.protocol = Protocol.model_validate(fields)
        if tau is not None and not 0 <= tau <= 1:
            raise ValueError(f"{type(self).__name__}: tau must be in [0, 1], got {tau}")
        self.tau = self.protocol.loc_tau if tau is None else float(tau)
        self.tau_given = tau is not None
        self.thresholds = tuple(sorted({*self.protocol.iou_thresholds, self.protocol.loc_iou}))
        self.taus = torch.cat([tau_grid(self.protocol.tau_grid), torch.tensor([self.tau], dtype=torch.float64)])
        shape = (len(self.thresholds), len(RULES), 2, len(self.taus))
        key = digest_state(
            size=self.protocol.size,
            rule=self.protocol.map_rule.model_dump(),
            grid=self.protocol.tau_grid,
            tau=self.tau,
            reference=(self.protocol.loc_reference, self.protocol.loc_percentile, self.protocol.no_contour),
            thresholds=self.thresholds,
        )
        self.add_state("counts", torch.zeros(shape, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("judged", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("degenerate", torch.zeros(2, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("key", key, dist_reduce_fx="max")

    def update(
        self,
        maps: Tensor,
        gt_boxes: Sequence[npt.NDArray[np.integer[Any]]],
        predicted: Tensor | None = None,
        labels: Tensor | None = None,
        image_ids: Sequence[str] | None = None,
    ) -> None:
        """Add a batch.

        Args:
            maps: Raw score maps (B,h,w) of any floating dtype, resized and normalised by the protocol; or uint8
                levels (B,R,R), taken as they are.
            gt_boxes: B integer arrays (K,4), K >= 1, in pixels of the R×R map.
            predicted: Predicted classes (B,), for Top-1 Loc.
            labels: Labels (B,), for Top-1 Loc.
            image_ids: Names for messages.

        Raises:
            ValueError: Wrong shapes, an image without ground truth, an impossible box, or only one of ``predicted``
                and ``labels``.
        """
        for i, boxes in enumerate(gt_boxes):
            if len(boxes) == 0:
                name = repr(image_ids[i]) if image_ids is not None else f"{i} of the batch"
                raise ValueError(f"image {name} has no ground-truth box; leave it out of localisation metrics")
        if (predicted is None) != (labels is None):
            raise ValueError("give both predicted and labels, or neither")
        levels = self._levels(maps)
        ious = level_ious(levels, gt_boxes, image_ids, no_contour=self.protocol.no_contour, engine="cpu")
        reference = reference_levels(levels, self.protocol).cpu()
        limits = torch.tensor(self.thresholds, dtype=torch.float64)
        table = torch.stack([ious.multi, ious.single, ious.single_first], 1)
        hits = table[:, None] >= limits[None, :, None, None]
        right = torch.zeros(len(hits), dtype=torch.bool)
        if predicted is not None and labels is not None:
            right = (predicted == labels).cpu()
            self.judged += len(hits)
        both = torch.stack([hits, hits & right[:, None, None, None]], 3)
        self.counts += hit_counts(both, reference, self.taus).to(self.counts.device)
        self.total += len(hits)

    def _levels(self, maps: Tensor) -> Tensor:
        if maps.dtype == torch.uint8:
            self.degenerate[0] += (maps.flatten(1).amax(1) == 0).sum().to(self.degenerate.device)
            return maps
        rule = self.protocol.map_rule
        _, norm, flags = locate(maps, rule, self.protocol.size)
        for kind in (1, 2):
            self.degenerate[kind - 1] += (flags == kind).sum().to(self.degenerate.device)
        return quantize(norm)

    def curve(self, threshold: float, rule: str, right: bool = False) -> Tensor:
        """Accuracy curve over τ, percent, float64 (T,); ``right``: of images whose predicted class is right."""
        return percent(self._counts(threshold, rule, right)[:-1], self.total)

    def best_tau(self) -> float:
        """The first τ that locates most images, whatever their predicted class (to be used on another split)."""
        located = self._counts(self.protocol.loc_iou, self._loc_rule(), False)[:-1]
        return localisation.best_tau(located, self.taus[:-1])

    def _counts(self, threshold: float, rule: str, right: bool) -> Tensor:
        return self.counts[self.thresholds.index(threshold), RULES.index(rule), int(right)]

    def _loc_rule(self) -> str:
        return "single" if self.protocol.gt_boxes == "any" else "single_first"

    def _loc(self, right: bool) -> Tensor:
        policy = "fixed" if self.tau_given else self.protocol.loc_threshold
        if policy == "val":
            raise ValueError(
                f"{type(self).__name__}: the protocol takes τ from the validation split; give tau=…, e.g. "
                "the best_tau() of the same metric on that split"
            )
        located, last = self._counts(self.protocol.loc_iou, self._loc_rule(), False), len(self.taus) - 1
        # The last column is the given or fixed τ, which is no threshold of the grid.
        index = localisation.loc_threshold(located[:-1], policy, last)
        counts = self._counts(self.protocol.loc_iou, self._loc_rule(), right)
        return percent(localisation.at_threshold(counts, index), self.total)


class MaxBoxAcc(BoxMetric):
    """MaxBoxAcc in percent: max over τ of the share of images with IoU >= ``loc_iou``; largest contour, any box.

    Source: Choe et al., CVPR 2020, §3.2.

    Examples:
        >>> metric = MaxBoxAcc()
        >>> blob = torch.zeros(1, 7, 7)
        >>> blob[0, 2:5, 2:5] = 1
        >>> metric.update(blob, [np.array([[64, 64, 160, 160]])])
        >>> metric.compute()
        tensor(100., dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        return localisation.max_box_acc(self._counts(self.protocol.loc_iou, "single", False)[:-1], self.total)


class MaxBoxAccV2(BoxMetric):
    """MaxBoxAccV2 in percent: mean over δ of (max over τ of the share of images with IoU >= δ); all contours, any box.

    Source: wsolevaluation, ``--multi_contour_eval``; δ = .3, .5, .7 as published.

    Examples:
        >>> metric = MaxBoxAccV2()
        >>> blob = torch.zeros(1, 7, 7)
        >>> blob[0, 2:5, 2:5] = 1
        >>> metric.update(blob, [np.array([[64, 64, 160, 160]])])
        >>> metric.compute()
        tensor(100., dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        counts = torch.stack([self._counts(d, "multi", False)[:-1] for d in self.protocol.iou_thresholds])
        return localisation.max_box_acc_v2(counts, self.total)


class GTKnownLoc(BoxMetric):
    """GT-known Loc in percent: share of images with IoU >= ``loc_iou`` at the location threshold; largest contour.

    The protocol says which boxes count (``gt_boxes``) and where τ comes from (``loc_threshold``); a given ``tau``
    beats the latter.

    Examples:
        >>> metric = GTKnownLoc("wsoleval")
        >>> blob = torch.zeros(1, 7, 7)
        >>> blob[0, 2:5, 2:5] = 1
        >>> metric.update(blob, [np.array([[64, 64, 160, 160]])])
        >>> metric.compute()
        tensor(100., dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Percent, float64 ()."""
        return self._loc(right=False)


class Top1Loc(BoxMetric):
    """Top-1 Loc in percent: as GT-known Loc, and the predicted class must be the label.

    Both scores are read at one τ: under ``oracle`` the best one for GT-known Loc, not Top-1 Loc's own, so that they
    speak of the same boxes.

    Examples:
        >>> metric = Top1Loc()
        >>> blobs = torch.zeros(2, 7, 7)
        >>> blobs[:, 2:5, 2:5] = 1
        >>> boxes = [np.array([[64, 64, 160, 160]])] * 2
        >>> metric.update(blobs, boxes, predicted=torch.tensor([1, 2]), labels=torch.tensor([1, 3]))
        >>> metric.compute()
        tensor(50., dtype=torch.float64)
    """

    def compute(self) -> Tensor:
        """Percent, float64 (); ValueError if a batch came without predictions."""
        if int(self.judged) != int(self.total):
            raise ValueError("Top1Loc: update() needs predicted and labels for every image")
        return self._loc(right=True)


class Top5Loc(Top1Loc):
    """Top-5 Loc in percent: as GT-known Loc, and the label must be among the five classes of highest score.

    One map an image, of the protocol's class, as published WSOL tables have it; the challenge draws a box for each of
    the five classes.

    Source: Russakovsky et al., IJCV 2015, §4.2; ``functional.classification.top_k_hits``.

    Examples:
        >>> metric = Top5Loc()
        >>> blobs = torch.zeros(2, 7, 7)
        >>> blobs[:, 2:5, 2:5] = 1
        >>> boxes = [np.array([[64, 64, 160, 160]])] * 2
        >>> metric.update_scored(blobs, boxes, torch.arange(7.0).repeat(2, 1), torch.tensor([2, 1]))
        >>> metric.compute()
        tensor(50., dtype=torch.float64)
    """

    def update_scored(
        self, maps: Tensor, gt_boxes: Sequence[npt.NDArray[np.integer[Any]]], logits: Tensor, labels: Tensor
    ) -> None:
        """Add maps and boxes as ``update``, with class scores (B,C) and labels (B,)."""
        hits = top_k_hits(logits.detach(), labels, 5)
        self.update(maps, gt_boxes, predicted=torch.where(hits, labels, -1), labels=labels)
