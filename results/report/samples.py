"""What the report's explorer shows: chosen images as thumbnails, their low-resolution maps and per-image scores."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional as F

from ...metrics.functional.pixels import pxaps
from ...text import visible
from ..records.columns import MAP, Array
from ..records.load import Index
from ..scores.per_image import PIXELS
from ..scores.shown import Metric
from .scored import HIDDEN, Json, Sheet

LARGEST_MAP = 64
"""Side above which a stored map is shrunk for the report; its boxes are then approximate, and the report says so."""
HITS = ("top1_loc", "top5_loc", "gt_known_loc", "max_box_acc", "pointing_game", "mask_pointing_game")
"""Metrics in which an image is right or wrong."""
TIE_BREAKERS = ("gt_known_loc", "pxap", "evidence_precision", "average_drop")
"""Metric by which triples disagree on an image: the first of these that the run has."""


@dataclass(frozen=True)
class Picture:
    """An image as the networks see it: ``image`` (R,R,3) uint8; ``boxes`` (K,4) int in its pixels."""

    image: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int64]


Pictures = Callable[[Sequence[int]], Mapping[int, Picture]]
"""Data-set rows -> their pictures; rows that cannot be read are left out."""


def choose_rows(sheet: Sheet, samples: int) -> Index:
    """Data-set rows of the explorer: half where the triples disagree most, half evenly spread; ascending.

    Of the telling half, one image of each class comes before a second of any, as long as the triples disagree on it.
    """
    run, records = sheet.first_run, range(len(sheet.records))
    n = len(run.index)
    if samples >= n:
        return run.index
    interest = np.stack([sheet.boot.records[sheet.records[i]].column("degenerate") for i in records]).mean(0)
    first = sheet.boot.points[sheet.records[0]]
    by = next((m for m in TIE_BREAKERS if m != "pxap" and m in first), None)
    metric = next((m for m in sheet.boot.metrics if m.name == by), None)
    if metric is not None:
        scores = [sheet.image_scores(i, metric) for i in records if sheet.has(i, metric)]
        interest = interest + np.nan_to_num(np.stack(scores)).std(0)
    telling = _classes_in_turn(interest, sheet.labels)[: samples // 2]
    others = np.setdiff1d(np.arange(n), telling)
    spread = others[np.linspace(0, len(others) - 1, samples - len(telling)).round().astype(np.int64)]
    chosen: Index = run.index[np.sort(np.concatenate([telling, spread]))]
    return chosen


def _classes_in_turn(interest: npt.NDArray[np.float64], labels: npt.NDArray[np.float64]) -> Index:
    """Positions by falling interest; the k-th image of a class before the k+1-th of any, those of no interest last."""
    order = np.argsort(-interest, kind="stable")
    seen: Counter[int] = Counter()
    turn = np.empty(len(order), np.int64)
    for place, position in enumerate(order):
        label = int(labels[position])
        turn[place] = seen[label]
        seen[label] += 1
    chosen: Index = order[np.lexsort((turn, interest[order] <= 0))]
    return chosen


def explorer(sheet: Sheet, samples: int, pictures: Pictures | None, absent: str, thumb: int) -> Json:
    """All that the explorer needs. ``absent``: why there are no pictures, for people; ``thumb``: side in pixels."""
    run, manifest, protocol = sheet.first_run, sheet.manifest, sheet.manifest.protocol
    rows = choose_rows(sheet, samples)
    at = np.searchsorted(run.index, rows)
    found = {} if pictures is None else pictures([int(r) for r in rows])
    labels, ids = sheet.labels[at], run.image_ids[at]
    cases = [
        {
            **{"id": visible(str(i)), "row": int(row), "label": int(label)},
            "image": _thumbnail(found[row].image, thumb) if row in found else None,
            "boxes": found[row].boxes.tolist() if row in found else None,
        }
        for i, row, label in zip(ids, rows.tolist(), labels, strict=True)
    ]
    metrics = [m for m in sheet.boot.metrics if m.name not in HIDDEN]
    records = [_record(sheet, number, rows, at, metrics) for number in range(len(sheet.records))]
    names = manifest.dataset.class_names or [str(k) for k in range(manifest.dataset.num_classes)]
    used = sorted(
        {*labels.tolist(), *(k for r in records for k in r["target"]), *(k for r in records for k in r["predicted"])}
    )
    return {
        "size": protocol.size,
        "grid": protocol.tau_grid,
        "tau": protocol.loc_tau,
        "iou": protocol.loc_iou,
        "firstBox": protocol.gt_boxes == "first",
        "whole": protocol.no_contour == "whole",
        "boxed": manifest.dataset.has_boxes,
        "images": len(run.index),
        "absent": visible(absent) if not found else "",
        "classes": {int(k): _class_name(names, k) for k in used},
        "metrics": [m.name for m in metrics],
        "hits": [m.name for m in metrics if m.name in HITS],
        "cases": cases,
        "records": records,
    }


def _class_name(names: Sequence[str], label: int) -> str:
    if label < 0:
        return "no class"
    return visible(names[label]) if label < len(names) else str(label)


def _record(sheet: Sheet, number: int, rows: Index, at: Index, metrics: Sequence[Metric]) -> Json:
    triple = sheet.records[number]
    run = sheet.merged.run(triple)
    have = run.columns(triple)
    wanted = [n for n in ("predicted", "target", "degenerate", "peak", "reference", "y", "o", PIXELS) if n in have]
    wanted += [MAP] if run.has_column(triple, MAP) else []
    batches = list(replace(run, index=rows).batches(triple, wanted))
    data = {name: np.concatenate([b[name] for b in batches]) for name in wanted}
    scores = {}
    for metric in (m for m in metrics if sheet.has(number, m)):
        values = _pxap(data[PIXELS]) if metric.name == "pxap" else sheet.image_scores(number, metric)[at]
        scores[metric.name] = [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]
    rule, about = run.manifest.protocol.rule_for(triple.cam), run.manifest.cams.get(triple.cam)
    return {
        # No class is predicted where no network stands behind the maps.
        "predicted": [-1] * len(rows),
        **{name: data[name].tolist() for name in ("predicted", "target", "degenerate", "peak") if name in data},
        **({"reference": data["reference"].tolist()} if "reference" in data else {}),
        "scores": scores,
        "kernel": rule.kernel,
        "lowMinMax": rule.low_res_min_max,
        "normalisation": rule.normalisation,
        "finished": about is not None and about.finished,
        "maps": _maps(data[MAP]) if MAP in data else None,
    }


def _pxap(histograms: Array) -> npt.NDArray[np.float64]:
    counts = torch.from_numpy(histograms.astype(np.int64))
    scores = torch.full((len(counts),), torch.nan, dtype=torch.float64)
    with_object = counts[:, 1].sum(-1) > 0
    if bool(with_object.any()):
        scores[with_object] = pxaps(counts[with_object])
    found: npt.NDArray[np.float64] = scores.numpy()
    return found


def _maps(maps: Array) -> Json:
    """Maps (n,h,w) as base64 of little-endian float32, one text per image."""
    height, width = maps.shape[1:]
    shrunk = max(height, width) > LARGEST_MAP
    values = maps.astype(np.float32)
    if shrunk:
        scale = LARGEST_MAP / max(height, width)
        target = (max(1, round(height * scale)), max(1, round(width * scale)))
        values = F.adaptive_avg_pool2d(torch.from_numpy(values)[:, None], target)[:, 0].numpy()
    return {
        **{"height": values.shape[1], "width": values.shape[2], "shrunk": [height, width] if shrunk else None},
        "data": [_base64(v.astype("<f4").tobytes()) for v in values],
    }


def _thumbnail(image: npt.NDArray[np.uint8], side: int) -> str:
    picture = Image.fromarray(image)
    if side < max(picture.size):
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return f"data:image/jpeg;base64,{_base64(buffer.getvalue())}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def palettes() -> dict[str, Any]:
    """Colour maps as base64 of 256 RGB triples, from matplotlib."""
    from matplotlib import colormaps

    names = ("viridis", "magma", "turbo", "cividis", "gray")
    steps = np.arange(256)
    return {n: _base64(np.asarray(colormaps[n](steps, bytes=True))[:, :3].tobytes()) for n in names}
