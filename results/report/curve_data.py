"""Curves of the report: box accuracy over the threshold, pixel precision over recall."""

from __future__ import annotations

import numpy as np
import torch

from ...metrics.functional.localisation import tau_grid
from ..records.load import Run
from ..scores.curves import Counts, Curves
from ..scores.per_image import PIXELS, SINGLE, V2, Floats, PerImage
from .scored import Json, Sheet

RECALLS = 100
"""Steps of recall of a precision-recall curve."""


def threshold_curves(sheet: Sheet) -> Json | None:
    """Box accuracy in % over τ per record, at the first τ of each of the 256 levels; None without boxes."""
    protocol = sheet.manifest.protocol
    taus = tau_grid(protocol.tau_grid).numpy()
    taus = taus[np.unique((taus * 255).astype(np.int64), return_index=True)[1]]
    titles = {SINGLE: f"largest contour, IoU ≥ {protocol.loc_iou:g} (MaxBoxAcc)"}
    titles |= {f"{V2}{d}": f"all contours, IoU ≥ {d:g} (MaxBoxAccV2)" for d in protocol.iou_thresholds}
    values: list[dict[str, list[float]] | None] = []
    for triple in sheet.records:
        record = sheet.boot.records[triple]
        values.append(None if record.curves is None else _accuracies(record, record.curves, taus, list(titles)))
    if not any(values):
        return None
    # A τ chosen on val is each triple's own; a single mark would be wrong for most.
    fixed = protocol.loc_tau if protocol.loc_threshold == "fixed" else None
    return {"x": taus.tolist(), "rows": [[k, t] for k, t in titles.items()], "values": values, "tau": fixed}


def precision_recall(sheet: Sheet) -> Json | None:
    """Pixel precision per record at the highest threshold that reaches each recall; None without masks."""
    recalls = np.arange(1, RECALLS + 1) / RECALLS
    values = [
        _precisions(sheet.merged.run(triple), triple, recalls) if sheet.boot.records[triple].has_pixels else None
        for triple in sheet.records
    ]
    return {"x": recalls.tolist(), "values": values} if any(values) else None


def _accuracies(record: PerImage, curves: Curves, taus: Floats, names: list[str]) -> dict[str, list[float]]:
    counts: Counts = curves.count(np.ones((record.images, 1), np.uint8))[:, :, 0]
    at = [curves.index_of(tau) for tau in taus]
    boxed = record.column("boxed").sum()
    return {name: np.round(100.0 * counts[curves.names.index(name)][at] / boxed, 3).tolist() for name in names}


def _precisions(run: Run, triple: str, recalls: Floats) -> list[float] | None:
    total = sum(b[PIXELS].sum(axis=0, dtype=np.int64) for b in run.batches(triple, [PIXELS]))
    fp, tp = torch.from_numpy(np.asarray(total)).flip(-1).cumsum(-1).numpy()
    if tp[-1] == 0:
        return None
    # The last bins, from 1 upwards, are where the first threshold reaches; an empty prefix has no precision.
    first = np.searchsorted(tp, np.ceil(recalls * tp[-1] - 1e-9))
    found: list[float] = np.round(tp[first] / (tp[first] + fp[first]), 5).tolist()
    return found
