"""Sums over images that every score is made of, streamed from the parts of a triple."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from ...metrics.functional.fidelity import average_drop, average_gain, increase_in_confidence
from ...metrics.functional.localisation import best_threshold, hit_counts, loc_threshold, tau_grid, unpack_hits
from ...metrics.functional.pixels import pious, pxap
from ...protocol import Protocol
from ..records.columns import EXTRA, Array
from ..records.load import Run, require_images
from ..records.manifest import RunManifest
from ..records.record_errors import RecordError

SCALARS: tuple[str, ...] = (
    *("label", "predicted", "degenerate", "peak", "reference", "n_boxes"),
    *("y", "o", "evidence_precision"),
)

Counts = npt.NDArray[np.int64]
PIOU_DATA = ("openimages30k",)
"""Data sets whose papers report pIoU (DA-WSOL, CVPR 2022, and those after it)."""
TOP5 = f"{EXTRA}top5_cls"
"""Column that says whether an image's label is among the five best classes."""


@dataclass
class Totals:
    """Sums over the images of a triple.

    Attributes:
        images: Images. boxed: Images with ground-truth boxes. correct: Images whose predicted class is the label.
        degenerate: Maps without contrast or not finite.
        thresholds: IoU thresholds (T,) of the count rows.
        multi_counts, single_counts: Images (T, thresholds τ) with IoU ≥ δ: all contours; largest contour, any box (at
            the protocol's ``loc_iou`` only: (τ,)).
        loc_counts, top1_counts: Images (τ,) located by the protocol's box rule; those also classified correctly. One
            entry where the protocol fixes τ.
        top5_counts: Those located whose label is among the five best classes, where that is recorded.
        loc_index: Index of the location threshold in them; None where it must come from the val split.
        average_drop, average_gain, increase: Fidelity scores in percent; the drop is None where ``has_drop`` is false.
        histogram: Pixels (2,K) per threshold bin, background and object.
        evidence: Sum of evidence precision. extra: Sums of the ``extra:`` columns.
    """

    images: int
    thresholds: tuple[float, ...]
    boxed: int = 0
    correct: int = 0
    degenerate: int = 0
    multi_counts: Counts = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    single_counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    loc_counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    top1_counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    top5_counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))
    loc_index: int | None = None
    average_drop: float | None = 0.0
    average_gain: float = 0.0
    increase: float = 0.0
    histogram: Counts = field(default_factory=lambda: np.zeros((2, 0), np.int64))
    evidence: float = 0.0
    extra: dict[str, float] = field(default_factory=dict)

    def piou(self) -> float:
        """Peak IoU in percent."""
        return float(pious(torch.from_numpy(self.histogram)[None])[0])

    def pxap(self) -> float:
        """PxAP in percent."""
        return pxap(torch.from_numpy(self.histogram))


def reports_piou(manifest: RunManifest) -> bool:
    """pIoU has a column: papers on this data set report it beside PxAP."""
    return manifest.dataset.name in PIOU_DATA


def totals(run: Run, triple: str, columns: Iterable[str], val_counts: Counts | None = None) -> Totals:
    """Sums over all images of ``run`` for a canonical triple with these columns.

    Args:
        run: The records.
        triple: A triple with records.
        columns: Its column names.
        val_counts: Located images (τ,) of the same triple on the val split, for protocols that choose τ there.
    """
    protocol, have = run.manifest.protocol, set(columns)
    thresholds = run.manifest.hit_thresholds
    sums = Totals(len(run.index), thresholds)
    sums.loc_index = _loc_index(protocol, val_counts)
    scalars = [n for n in SCALARS if n in have]
    scalars += sorted(n for n in have if n.startswith(EXTRA))
    arrays = [n for n in ("hits_multi", "hits_single", "hits_single_first", "pixel_histogram") if n in have]
    kept: dict[str, list[Array]] = {n: [] for n in scalars}
    for batch in run.batches(triple, [*scalars, *arrays]):
        for name in scalars:
            kept[name].append(batch[name])
        predicted = batch.get("predicted")
        correct = np.zeros(len(batch["label"]), bool) if predicted is None else predicted == batch["label"]
        if "hits_single" in have:
            _add_hits(sums, batch, correct, protocol)
        if "pixel_histogram" in have:
            histogram = batch["pixel_histogram"].sum(axis=0, dtype=np.int64)
            sums.histogram = histogram if not sums.histogram.size else sums.histogram + histogram
    if protocol.loc_threshold == "oracle" and sums.loc_counts.size:
        sums.loc_index = int(loc_threshold(torch.from_numpy(sums.loc_counts), "oracle"))
    joined = {name: np.concatenate(parts) for name, parts in kept.items()}
    if "predicted" in joined:
        sums.correct = int((joined["predicted"] == joined["label"]).sum())
    sums.degenerate = int((joined["degenerate"] != 0).sum())
    if "y" in joined and "o" in joined:
        _add_fidelity(sums, joined["y"], joined["o"], protocol, triple)
    if "evidence_precision" in joined:
        sums.evidence = _finite_sum(joined["evidence_precision"], triple, "evidence_precision")
    # One sum over all images, not over shards: the result must not depend on how a run was cut.
    sums.extra = {n: _finite_sum(joined[n], triple, n) for n in scalars if n.startswith(EXTRA)}
    return sums


def loc_curve_column(val: Run, triple: str) -> Counts:
    """Located images (τ,) of a triple on the val split, by its protocol's box rule."""
    require_images(val)
    return totals(val, triple, val.columns(triple), np.zeros(1, np.int64)).loc_counts


def _loc_index(protocol: Protocol, val_counts: Counts | None) -> int | None:
    if protocol.loc_threshold == "fixed":
        return 0
    return None if val_counts is None else int(best_threshold(torch.from_numpy(val_counts)))


def reference_of(columns: dict[str, Array]) -> Array:
    """What a threshold is a fraction of, (n,): a percentile of a map's levels where one is recorded, else its peak."""
    return columns["reference"] if "reference" in columns else columns["peak"]


def _add_hits(sums: Totals, batch: dict[str, Array], correct: npt.NDArray[np.bool_], protocol: Protocol) -> None:
    grid = tau_grid(protocol.tau_grid)
    fixed = torch.tensor([protocol.loc_tau], dtype=torch.float64)
    boxed = batch["n_boxes"] > 0 if "n_boxes" in batch else np.ones(len(correct), dtype=bool)
    row = sums.thresholds.index(protocol.loc_iou)
    located = batch["hits_single" if protocol.gt_boxes == "any" else "hits_single_first"][:, row]
    loc_grid = fixed if protocol.loc_threshold == "fixed" else grid
    reference = reference_of(batch)
    counts = (
        _counts(batch["hits_multi"], reference, grid, boxed),
        _counts(batch["hits_single"][:, row], reference, grid, boxed),
        _counts(located, reference, loc_grid, boxed),
        _counts(located, reference, loc_grid, boxed & correct),
    )
    first = not sums.single_counts.size
    before = (sums.multi_counts, sums.single_counts, sums.loc_counts, sums.top1_counts)
    joined = counts if first else tuple(a + b for a, b in zip(before, counts, strict=True))
    sums.multi_counts, sums.single_counts, sums.loc_counts, sums.top1_counts = joined
    if TOP5 in batch:
        five = _counts(located, reference, loc_grid, boxed & (batch[TOP5] > 0))
        sums.top5_counts = five if first else sums.top5_counts + five
    sums.boxed += int(boxed.sum())


def _counts(packed: Array, peak: Array, taus: torch.Tensor, chosen: npt.NDArray[np.bool_]) -> Counts:
    hits = unpack_hits(torch.from_numpy(np.ascontiguousarray(packed[chosen])))
    counted: Counts = hit_counts(hits, torch.from_numpy(peak[chosen]), taus).numpy()
    return counted


def has_drop(y: Array) -> bool:
    """Whether Average Drop is defined: a class score of 0, as a network very sure of another has, cannot drop."""
    return not bool((y == 0).any())


def _add_fidelity(sums: Totals, y: Array, o: Array, protocol: Protocol, triple: str) -> None:
    scores = torch.from_numpy(y), torch.from_numpy(o)
    try:
        sums.average_drop = float(average_drop(*scores)) if has_drop(y) else None
        sums.increase = float(increase_in_confidence(*scores))
        # A gain is a share of the head-room 1 - Y, which a raw logit does not have.
        if protocol.fidelity_score != "logit":
            sums.average_gain = float(average_gain(*scores))
    except ValueError as error:
        raise RecordError(f"{triple}: {error}") from None


def _finite_sum(values: Array, triple: str, name: str) -> float:
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise RecordError(f"{triple}: column {name} is NaN or infinite for {bad} of {len(values)} images")
    return float(values.sum())
