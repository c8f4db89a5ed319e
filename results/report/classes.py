"""Scores of each class, for the report's small multiples."""

from __future__ import annotations

import warnings

import numpy as np

from ...text import visible
from ..scores.shown import Metric
from .scored import Json, Sheet

SHOWN = 12
"""Classes with a panel: all, or those in which the methods differ most."""
FEWEST = 3
"""Images below which a class is left out where there is a choice."""


def class_scores(sheet: Sheet) -> Json | None:
    """Mean score of each class by record and metric; None where no metric is a mean over images.

    PxAP is left out: it pools the pixels of its images, and is no mean over them.
    """
    metrics = [m for m in sheet.contests if m.name != "pxap"]
    if not metrics or not sheet.manifest.dataset.labelled:
        return None
    labels = sheet.labels
    present, counts = np.unique(labels, return_counts=True)
    means = {m.name: [_means(sheet, i, m, labels, present) for i in range(len(sheet.records))] for m in metrics}
    lead = sheet.primary if sheet.primary in metrics else metrics[0]
    assert lead is not None
    kept = _telling([v for v in means[lead.name] if v is not None], counts)
    names = sheet.manifest.dataset.class_names
    classes = [
        {"name": visible(names[k]) if k < len(names) else f"class {k}", "images": int(counts[place])}
        for place, k in ((place, int(present[place])) for place in kept)
    ]
    values = {
        name: [None if v is None else [_rounded(v[place]) for place in kept] for v in rows]
        for name, rows in means.items()
    }
    return {"classes": classes, "all": len(present), "fewest": FEWEST, "lead": lead.name, "values": values}


def _means(sheet: Sheet, record: int, metric: Metric, labels: np.ndarray, present: np.ndarray) -> np.ndarray | None:
    if not sheet.has(record, metric):
        return None
    scores = sheet.image_scores(record, metric)
    with warnings.catch_warnings():
        # A class of images without boxes has no score.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.array([np.nanmean(scores[labels == k]) for k in present])


def _telling(rows: list[np.ndarray], counts: np.ndarray) -> list[int]:
    """Places of the classes that get a panel, in the order of the labels."""
    if len(counts) <= SHOWN:
        return list(range(len(counts)))
    spread = np.nan_to_num(np.stack(rows)).std(0) - (counts < FEWEST) * 1e6
    return sorted(np.argsort(-spread, kind="stable")[:SHOWN].tolist())


def _rounded(value: float) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None
