"""A triple's score of each image: what its metrics are an average of, at the thresholds that its metrics chose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ...metrics.functional.localisation import best_threshold
from ...metrics.functional.pixels import pious, pxaps
from ..scores.per_image import LOC, PIXELS, SINGLE, TOP1, TOP5_LOC, V2, Floats, PerImage
from ..scores.shown import Metric
from .bootstrap import Bootstrap

MEANS = {
    "top1_cls": "correct",
    "average_drop": "drop",
    "increase_in_confidence": "increase",
    "average_gain": "gain",
    "evidence_precision": "evidence_precision",
}


def image_scores(boot: Bootstrap, entry: str, metric: Metric) -> Floats:
    """Scores (n,) of the images in the metric's unit; NaN for an image without a box or an object to be scored on.

    Their mean is the entry's score; PxAP is the exception: it pools the pixels of all images, so an image's own PxAP
    says where two triples differ, not how the total came about.

    Raises:
        KeyError: The entry has no such metric.
    """
    record = boot.records[entry]
    if metric.name not in boot.points[entry]:
        raise KeyError(f"{entry} has no {metric.name}; it has {', '.join(boot.points[entry])}")
    if metric.name in MEANS:
        return 100.0 * record.column(MEANS[metric.name])
    if metric.name in ("max_box_acc", "max_box_acc_v2", "gt_known_loc", "top1_loc", "top5_loc"):
        hits = _box_hits(record, metric.name)
        return np.where(record.column("boxed") > 0, 100.0 * hits, np.nan)
    if metric.name in ("pxap", "piou"):
        return _pooled(record, pxaps if metric.name == "pxap" else pious)
    if metric.name == "degenerate":
        return 100.0 * record.column("degenerate")
    column = record.column(f"extra:{metric.name}")
    return 100.0 * column if metric.unit == "%" else column


def _box_hits(record: PerImage, metric: str) -> Floats:
    columns = {"gt_known_loc": LOC, "top1_loc": TOP1, "top5_loc": TOP5_LOC}
    if metric in columns and record.tau is not None:
        return record.column(columns[metric])
    assert record.curves is not None
    counts = record.curves.count(np.ones((record.images, 1), np.uint8))[:, :, 0]
    best = dict(zip(record.curves.names, best_threshold(torch.from_numpy(counts)).tolist(), strict=True))
    if metric == "max_box_acc":
        return record.curves.hits(SINGLE, int(best[SINGLE])).astype(np.float64)
    if metric in columns:
        return record.curves.hits(columns[metric], int(best[LOC])).astype(np.float64)
    rows = [f"{V2}{d}" for d in record.protocol.iou_thresholds]
    hits: Floats = np.mean([record.curves.hits(row, int(best[row])) for row in rows], axis=0)
    return hits


def _pooled(record: PerImage, score: Callable[[torch.Tensor], torch.Tensor]) -> Floats:
    parts = []
    for batch in record.run.batches(record.triple, [PIXELS]):
        histograms = torch.from_numpy(batch[PIXELS].astype(np.int64))
        scores = torch.full((len(histograms),), torch.nan, dtype=torch.float64)
        with_object = histograms[:, 1].sum(-1) > 0
        if bool(with_object.any()):
            scores[with_object] = score(histograms[with_object])
        parts.append(scores.numpy())
    return np.concatenate(parts)
