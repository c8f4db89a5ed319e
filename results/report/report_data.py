"""What the HTML report says of a run as a whole: leaderboard with intervals, costs, curves; plain JSON values."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...metrics.functional.localisation import tau_grid
from ...text import visible
from ...triple import Triple
from ..records.load import Run
from ..records.manifest import RunManifest
from ..scores.curves import Counts, Curves
from ..scores.per_image import PIXELS, SINGLE, V2, Floats, PerImage
from ..statistics.bootstrap import Bootstrap
from ..statistics.intervals import LEVEL
from ..statistics.paired import ALPHA
from ..statistics.ranks import victories
from ..tables.naming import backbone_title, cam_cost, cam_title, head_title
from ..tables.notes import LISTED

Json = dict[str, Any]
RECALLS = 100
"""Steps of recall of a precision-recall curve."""


def record_triples(run: Run) -> list[str]:
    """Triples with records of their own, in table order; the others are aliases of these."""
    return list(dict.fromkeys(run.manifest.canonical(t) for t in run.triples))


def overview(run: Run) -> Json:
    """Title, facts and notes of a run, as text."""
    manifest = run.manifest
    data, protocol = manifest.dataset, manifest.protocol
    facts = [
        ("Data set", f"{data.title or data.name}, split {data.split}, {data.num_classes} classes"),
        ("Images", f"{len(run.index)} of {data.rows}"),
        ("Data fingerprint", data.fingerprint),
        ("Protocol", f"{protocol.name} (version {protocol.version}, digest {protocol.digest})"),
        ("Records", f"cambench {manifest.code_version}, {manifest.started or 'start not recorded'}"),
        ("Device", ", ".join(manifest.devices) or "not recorded"),
    ]
    return {
        "title": visible(f"{data.title or data.name}: {len(run.triples)} triples"),
        "facts": [[name, visible(text)] for name, text in facts],
        "notes": [visible(note) for note in _notes(run)],
    }


def leaderboard(run: Run, boot: Bootstrap) -> Json:
    """Metrics, and a row per triple: names, scores, intervals, cost; ``record`` numbers ``record_triples``."""
    metrics = [
        {
            **{"name": m.name, "title": visible(m.title), "up": m.higher_is_better, "unit": visible(m.unit)},
            **{"digits": m.digits, "ranked": m.ranked and not m.per_backbone, "source": visible(m.source)},
        }
        for m in boot.metrics
    ]
    records = record_triples(run)
    intervals = boot.intervals(LEVEL)
    rows = []
    for triple in run.triples:
        manifest, (backbone, cam, head) = run.manifest, triple.names
        canonical = manifest.canonical(triple)
        timing = manifest.timings.triples.get(canonical)
        rows.append(
            {
                **{"id": visible(triple), "record": records.index(canonical), "control": manifest.is_control(cam)},
                **{"backbone": visible(backbone_title(manifest, backbone)), "cam": visible(cam_title(manifest, cam))},
                "head": visible(head_title(manifest, head)),
                "alias": "" if canonical == triple else visible(_identity(manifest, triple)),
                "scores": {name: value for name, value in boot.points[triple].items() if np.isfinite(value)},
                "intervals": {name: [i.low, i.high] for name, i in intervals[triple].items()},
                "ms": timing.ms_per_image if timing else None,
                "forwards": timing.forwards if timing else None,
                "map": timing.map_forwards if timing else None,
                "cost": visible(cam_cost(manifest, cam)),
            }
        )
    plan = boot.plan
    about = f"{LEVEL:.0%} intervals: image bootstrap, {plan.count} resamples, seed {plan.seed}"
    return {"metrics": metrics, "triples": rows, "intervals": about, "beats": _beats(run, boot), "alpha": ALPHA}


def _beats(run: Run, boot: Bootstrap) -> dict[str, dict[int, list[int]]]:
    """Metric -> record -> records of the same backbone that it is significantly better than.

    Holm's correction is over the pairs of a metric and backbone, as for the ranks of the leaderboard.
    """
    records = record_triples(run)
    groups: dict[str, list[str]] = {}
    for triple in records:
        groups.setdefault(Triple.parse(triple).backbone, []).append(triple)
    found: dict[str, dict[int, list[int]]] = {}
    for metric in (m.name for m in boot.metrics if m.ranked and not m.per_backbone):
        won = found.setdefault(metric, {})
        for group in groups.values():
            for winner, loser in victories(boot, metric, group):
                won.setdefault(records.index(winner), []).append(records.index(loser))
    return found


def threshold_curves(run: Run, boot: Bootstrap) -> Json | None:
    """Box accuracy in % over τ per record, at the first τ of each of the 256 levels; None without boxes."""
    taus = tau_grid(run.manifest.protocol.tau_grid).numpy()
    taus = taus[np.unique((taus * 255).astype(np.int64), return_index=True)[1]]
    protocol = run.manifest.protocol
    titles = {SINGLE: f"largest contour, IoU ≥ {protocol.loc_iou:g} (MaxBoxAcc)"}
    titles |= {f"{V2}{d}": f"all contours, IoU ≥ {d:g} (MaxBoxAccV2)" for d in protocol.iou_thresholds}
    values: list[dict[str, list[float]] | None] = []
    for triple in record_triples(run):
        record = boot.records[triple]
        values.append(None if record.curves is None else _accuracies(record, record.curves, taus, list(titles)))
    if not any(values):
        return None
    return {"x": taus.tolist(), "rows": [[k, t] for k, t in titles.items()], "values": values}


def precision_recall(run: Run, boot: Bootstrap) -> Json | None:
    """Pixel precision per record at the highest threshold that reaches each recall; None without masks."""
    recalls = np.arange(1, RECALLS + 1) / RECALLS
    values = [
        _precisions(run, triple, recalls) if boot.records[triple].has_pixels else None for triple in record_triples(run)
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


def _notes(run: Run) -> list[str]:
    manifest = run.manifest
    notes = _some("image left out", [f"{f.image_id} (row {f.index}): {f.reason}" for f in run.failures])
    notes += _some("problem", [line.replace(f"{run.out}/", "") for line in run.problems])
    notes += run.notes
    notes += _some("no records", list(run.pending))
    reasons: dict[str, list[str]] = {}
    for triple, why in manifest.skipped.items():
        reasons.setdefault(why, []).append(triple)
    notes += _some("not run", [f"{', '.join(triples)}: {why}" for why, triples in reasons.items()])
    return notes + [f"data: {note}" for note in manifest.dataset.notes[:LISTED]]


def _some(what: str, lines: list[str]) -> list[str]:
    shown = [f"{what}: {line}" for line in lines[:LISTED]]
    return shown + ([f"{what}: {len(lines) - LISTED} more, see run.json"] if len(lines) > LISTED else [])


def _identity(manifest: RunManifest, triple: str) -> str:
    return manifest.identities.get(Triple.parse(triple)) or f"has the maps of {manifest.canonical(triple)}"
