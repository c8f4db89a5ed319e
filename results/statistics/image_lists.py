"""The images and classes behind a difference: which gained, which lost, and by how much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..records.load import Run
from ..scores.comparable import CompareError
from ..scores.per_image import Floats
from ..scores.shown import Metric
from .bootstrap import Bootstrap
from .image_scores import image_scores

PREFERRED = ("max_box_acc_v2", "pxap", "gt_known_loc", "average_drop", "evidence_precision")
"""Metric of the image and class lists where the caller names none: the first of these in which an image differs."""


@dataclass(frozen=True)
class ImageRow:
    """An image and its two scores, in the unit of the list's metric."""

    image_id: str
    index: int
    label: str
    a: float
    b: float


@dataclass(frozen=True)
class ClassRow:
    """A class: images that are scored, mean scores, and images on which ``second`` is better and worse."""

    label: str
    images: int
    a: float
    b: float
    better: int
    worse: int


def listed(boot: Bootstrap, first: str, second: str, by: str | None) -> tuple[Metric, Floats, Floats]:
    """The metric of the lists, and the images' scores in it."""
    both = {m.name: m for m in boot.metrics if all(m.name in boot.points[e] for e in (first, second))}
    if by is not None and by not in both:
        raise CompareError(f"{first} and {second} do not both have the metric {by!r}; they have:", list(both))
    candidates = [by] if by is not None else [name for name in PREFERRED if name in both] or list(both)
    found = None
    for name in candidates:
        a, b = (image_scores(boot, e, both[name]) for e in (first, second))
        # A saturated metric has no image to show; the next one may.
        if not np.array_equal(a, b, equal_nan=True):
            return both[name], a, b
        found = found or (both[name], a, b)
    assert found is not None
    return found


def order_of(boot: Bootstrap, first: str, second: str, gain: Floats) -> npt.NDArray[np.int64]:
    """Images by |gain|, those without a score last; ties (hits are 0 or 1) by their difference in the other columns."""
    names = [n for n in boot.records[first].names if n in boot.records[second].names]
    apart = np.stack([boot.records[second].column(n) - boot.records[first].column(n) for n in names])
    spread = apart.std(axis=1, keepdims=True)
    other = np.abs(np.divide(apart, spread, out=np.zeros_like(apart), where=spread > 0)).sum(0)
    size = np.nan_to_num(np.abs(gain), nan=-1.0)
    return np.lexsort((np.arange(len(gain)), -other, -size))


def least_shown(metric: Metric) -> float:
    """Half of the last digit that a table shows: another batch size alone changes scores by less."""
    return 0.5 * 10.0**-metric.digits


def classes_of(
    run: Run, labels: npt.NDArray[np.int32], a: Floats, b: Floats, gain: Floats, shown: float
) -> tuple[ClassRow, ...]:
    """Classes with their mean scores, the largest difference first; images that differ by less than ``shown`` tie."""
    scored = np.isfinite(gain)
    rows = []
    for label in np.unique(labels[scored]):
        own = scored & (labels == label)
        better, worse = int((gain[own] > shown).sum()), int((gain[own] < -shown).sum())
        name = class_name(run, int(label))
        rows.append(ClassRow(name, int(own.sum()), float(a[own].mean()), float(b[own].mean()), better, worse))
    return tuple(sorted(rows, key=lambda r: -abs(r.b - r.a)))


def class_name(run: Run, label: int) -> str:
    """Name of a class, or its number."""
    names = run.manifest.dataset.class_names
    if label < 0:
        return "no label"
    return names[label] if 0 <= label < len(names) else f"class {label}"
