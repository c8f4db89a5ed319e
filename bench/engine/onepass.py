"""The one pass: a batch goes in; the per-image scores of every distinct map of a backbone come out.

One backbone forward without autograd, one head gradient per branch, one resize per distinct map, one masked forward
per distinct map. Box levels are integer work on the CPU: worker threads do it beside the device's next stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...baselines.cams.evidence import Evidence
from ...baselines.cams.method import CAMS
from ...baselines.cams.score_map import apply_sign, clamps, raw_map
from ...baselines.contracts import HEADS, Backbone, Branch
from ...datasets.schema import Batch
from ...metrics.functional.boxes import LevelIoUs, join_boxes, quantize
from ...metrics.functional.fidelity import evidence_precision, image_masks
from ...metrics.functional.host_copies import HostCopies
from ...metrics.functional.localisation import pack_hits
from ...metrics.functional.maps import locate
from ...metrics.functional.pixels import pixel_histograms
from ...metrics.functional.pointing import box_regions
from ...metrics.functional.pool import BoxPool
from ...metrics.spec import MapBatch, MetricSpec
from ...protocol import Protocol
from ...results.records.columns import EXTRA
from ...triple import Triple
from ..host.errors import RunError
from .clock import StageClock
from .measures import check_finite, measure

Columns = dict[str, npt.NDArray[np.generic]]


@dataclass
class BatchScores:
    """Scores of one batch that are on their way to the host or in a worker thread; ``rows`` waits for them."""

    image_ids: tuple[str, ...]
    shared: Columns
    classes: HostCopies
    device_columns: dict[Triple, HostCopies]
    boxes: dict[Triple, Future[tuple[LevelIoUs, float]]]
    thresholds: tuple[float, ...]

    def rows(self, clock: StageClock) -> dict[Triple, Columns]:
        """Columns (B, …) per distinct triple, on the host; RunError names an image whose metric is not finite."""
        out: dict[Triple, Columns] = {}
        shared = self.shared | {name: t.numpy() for name, t in self.classes.wait().items()}
        for triple, copies in self.device_columns.items():
            columns = shared | {name: t.numpy() for name, t in copies.wait().items()}
            for name in columns:
                if name.startswith(EXTRA):
                    check_finite(name.removeprefix(EXTRA), columns[name], self.image_ids)
            if triple in self.boxes:
                ious, milliseconds = self.boxes[triple].result()
                clock.add("boxes", triple, milliseconds)
                for rule in ("multi", "single", "single_first"):
                    columns[f"hits_{rule}"] = pack_hits(getattr(ious, rule), self.thresholds).numpy()
            out[triple] = columns
        return out


class OnePass:
    """Scores all distinct maps of one backbone, batch by batch.

    Args:
        backbone: Frozen network on ``device`` with every branch that ``maps`` need.
        maps: Distinct (canonical) triples of this backbone.
        protocol: The choices that change a number.
        device: Where tensors live from decode to score.
        autocast: Autocast dtype of the backbone, or None for float32.
        box_threads: Threads of the box kernels.
        iou_thresholds: IoU thresholds whose hit bits are recorded.
        measures: Further metrics, one value an image.
        has_boxes: The split has ground-truth boxes.
        map_bytes: Bytes of an image's low-resolution map, float32, up to which it is returned as well.
    """

    def __init__(
        self,
        backbone: Backbone,
        maps: Sequence[Triple],
        protocol: Protocol,
        *,
        device: torch.device,
        autocast: torch.dtype | None,
        channels_last: bool,
        box_threads: int,
        iou_thresholds: tuple[float, ...],
        measures: Sequence[MetricSpec],
        has_boxes: bool,
        map_bytes: float,
        clock: StageClock,
    ) -> None:
        self.backbone, self.maps, self.protocol, self.device = backbone, tuple(maps), protocol, device
        self._autocast, self._channels_last, self._map_bytes = autocast, channels_last, map_bytes
        self._thresholds, self._has_boxes, self.clock = iou_thresholds, has_boxes, clock
        self._measures = tuple(measures)
        self._pool = BoxPool(box_threads) if has_boxes else None
        self.feature_shape: tuple[int, int, int] | None = None
        self.notes: Counter[str] = Counter()

    def close(self) -> None:
        """Stop the box threads."""
        if self._pool is not None:
            self._pool.close()

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Target features (B,N,P,Q) float32 of normalised images, by one forward without autograd."""
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self._autocast is None:
            return self.backbone.features(images).float()
        with torch.autocast(self.device.type, dtype=self._autocast):
            features = self.backbone.features(images).float()
        # bfloat16 has float32's range; float16 ends at 65,504.
        if self._autocast == torch.float16 and not features.isfinite().all():
            self.notes["float16 overflows in the network: the batches concerned were computed in float32"] += 1
            features = self.backbone.features(images).float()
        return features

    @torch.no_grad()
    def __call__(self, batch: Batch) -> BatchScores:
        """Score every distinct map of a batch (B ≥ 1 decoded images); RunError names an image whose boxes are wrong."""
        clock, protocol = self.clock, self.protocol
        if self._has_boxes:
            try:
                join_boxes(batch.gt_boxes, len(batch), batch.image_ids)
            except (TypeError, ValueError) as error:
                raise RunError(f"ground truth: {error}") from error
        with clock.stage("forward"):
            pixels = batch.images.to(self.device, non_blocking=True).float() / 255
            images = self.backbone.normalise(pixels)
            features = self.features(images)
            logits = self.backbone.head("softmax")(features).float()
        rows = features.shape[2] - self.backbone.head("softmax").context_rows
        self.feature_shape = (features.shape[1], rows, features.shape[3])
        labels = batch.labels.to(self.device, non_blocking=True)
        predicted = logits.argmax(1)
        target = predicted if protocol.target == "predicted" else labels
        evidence = self._evidence(features, target, batch, images)
        fidelity = Fidelity(self, pixels, target)
        with clock.stage("fidelity"):
            y = fidelity.score(features, logits)
        clock.count(len(batch))
        masks = batch.masks.to(self.device, non_blocking=True) if batch.masks is not None else None
        parts = batch.evidence.to(self.device, non_blocking=True) if batch.evidence is not None else None

        regions = (
            box_regions(batch.gt_boxes, protocol.size, self.device) if self._has_boxes and self._measures else None
        )
        columns: dict[Triple, HostCopies] = {}
        boxes: dict[Triple, Future[tuple[LevelIoUs, float]]] = {}
        for triple in self.maps:
            head, method = HEADS.get(triple.head), CAMS.get(triple.cam)
            rule = protocol.rule_for(triple.cam)
            with clock.stage("maps", triple):
                raw = raw_map(method, evidence[head.branch], clamp=clamps(method, head, protocol))
                positive, low = raw.clamp_min(0), apply_sign(raw, method, rule)
            with clock.stage("resize", triple):
                finished = method.returns == "mask"
                up, norm, degenerate = locate(low, rule, protocol.size, finished=finished)
                levels = quantize(norm)
            column = {"degenerate": degenerate, "peak": levels.amax((1, 2)), "y": y}
            if self._pool is not None:
                boxes[triple] = self._pool.submit_timed(levels, batch.gt_boxes)
            with clock.stage("pixels", triple):
                if masks is not None:
                    column["pixel_histogram"] = pixel_histograms(norm, masks, protocol.tau_grid)
                if parts is not None:
                    column["evidence_precision"] = evidence_precision(up.clamp_min(0), parts)
            with clock.stage("fidelity", triple):
                column["o"] = fidelity.masked_score(positive, finished)
            if self._measures:
                with clock.stage("measures", triple):
                    maps = MapBatch(
                        batch.image_ids, norm, up.clamp_min(0), pixels, batch.gt_boxes, regions, masks, parts, protocol,
                        fidelity.score_images,
                    )  # fmt: skip
                    column |= {f"{EXTRA}{spec.name}": measure(spec, maps) for spec in self._measures}
            if 4 * low[0].numel() <= self._map_bytes:
                column["map"] = low.float()
            columns[triple] = HostCopies(column)
        shared: Columns = {
            "image_id": np.asarray(batch.image_ids, dtype=object),
            "index": batch.index.numpy(),
            "label": batch.labels.numpy(),
            **({"n_boxes": np.array([len(b) for b in batch.gt_boxes])} if self._has_boxes else {}),
        }
        classes = HostCopies({"predicted": predicted, "target": target})
        return BatchScores(batch.image_ids, shared, classes, columns, boxes, self._thresholds)

    def _evidence(self, features: Tensor, target: Tensor, batch: Batch, images: Tensor) -> Mapping[Branch, Evidence]:
        branches: dict[Branch, Evidence] = {}
        for triple in self.maps:
            branch = HEADS.get(triple.head).branch
            if branch not in branches:
                head = self.backbone.head(branch)
                branches[branch] = Evidence(
                    *(features, head, target, batch.image_ids, images, self.backbone),
                    forward=self.features,
                    score_channels=self.protocol.score_channels,
                )
            if "gradients" in CAMS.get(triple.cam).needs:
                # Asked for here, so that the head's backward is timed as a head, not as the first method's map.
                with self.clock.stage("heads", branch):
                    _ = branches[branch].gradients
        return branches


class Fidelity:
    """Class scores Y and O of one batch under the protocol's fidelity fields (SEMANTICS: Average Drop)."""

    def __init__(self, engine: OnePass, pixels: Tensor, target: Tensor) -> None:
        self._engine, self._pixels, self._target = engine, pixels, target

    @cached_property
    def _normalised(self) -> Tensor:
        return self._engine.backbone.normalise(self._pixels)

    def score_images(self, images: Tensor, index: Tensor) -> Tensor:
        """Score (M,) of images (M,3,R,R) in [0, 1] for the targets of the batch's images ``index`` (M,)."""
        features = self._engine.features(self._engine.backbone.normalise(images))
        return self.score(features, target=self._target[index])

    def score(self, features: Tensor, logits: Tensor | None = None, target: Tensor | None = None) -> Tensor:
        """Score (B,) float64 of the target class: probability, sigmoid score or raw logit, by the protocol."""
        backbone, kind = self._engine.backbone, self._engine.protocol.fidelity_score
        if kind == "sigmoid":
            logits = backbone.head("sigmoid")(features)
        elif logits is None:
            logits = backbone.head("softmax")(features)
        assert logits is not None
        scores = logits.double()
        if kind == "softmax":
            scores = scores.softmax(1)
        elif kind == "sigmoid":
            scores = scores.sigmoid()
        return scores.gather(1, (self._target if target is None else target)[:, None])[:, 0]

    def masked_score(self, positive: Tensor, finished: bool) -> Tensor:
        """Score O (B,) of the masked images; ``positive`` is the low-resolution map (B,P,Q) after ReLU."""
        protocol, network = self._engine.protocol, self._engine.backbone
        mask = image_masks(
            positive, protocol.size, protocol.fidelity_kernel, "no" if finished else protocol.fidelity_min_max
        )[:, None]
        if protocol.fidelity_space == "pixels":
            # In the order of ``normalise``, so that a mask of ones leaves every bit of the image as it was.
            masked = (self._pixels * mask).sub_(network.mean).div_(network.std)
        else:
            masked = self._normalised * mask
        return self.score(self._engine.features(masked))
