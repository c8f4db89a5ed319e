"""What the HTML report says of a table as a whole: facts, notes, scores with intervals, costs; plain JSON values."""

from __future__ import annotations

import numpy as np

from ...text import visible
from ...triple import Triple
from ..statistics.intervals import LEVEL, few_images
from ..statistics.paired import ALPHA
from ..tables.extra_columns import CLOCK, COST, MEASURED
from ..tables.look import CONTROL_LOOK, head_looks
from ..tables.naming import cam_cost, identity
from ..tables.notes import NOT_RUN, facts, remarks
from ..tables.selection import TableOptions, blocks
from .scored import Json, Sheet


def overview(sheet: Sheet) -> Json:
    """Titles, facts and notes of a table, as text."""
    manifest = sheet.manifest
    data, triples = manifest.dataset, sheet.merged.triples
    known = [*facts(sheet.merged, None), ("Started", manifest.started or "not recorded")]
    devices = dict.fromkeys(d for r in sheet.merged.runs for d in r.manifest.devices)
    known.append(("Device", ", ".join(devices) or "not recorded"))
    methods = dict.fromkeys(t.cam for t in triples if not sheet.is_control(t))
    counts = {
        "network": len({t.backbone for t in triples}),
        "method": len(methods),
        "head": len({t.head for t in triples if not sheet.is_control(t)}),
        "image": sheet.merged.images,
    }
    notes = [visible(note) for note in (*few_images(sheet.merged.images), *remarks(sheet.merged))]
    parts = [f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items()]
    compared = f"{', '.join(parts[:2])} and {parts[2]} ({len(triples)} triple{'' if len(triples) == 1 else 's'})"
    return {
        "title": visible(data.title or data.name),
        "name": visible(data.name),
        "compared": visible(f"{compared} on {parts[3]} of {data.name}, split {data.split}"),
        "protocol": visible(manifest.protocol.name),
        "facts": [[name, visible(text)] for name, text in known],
        "notes": [note for note in notes if not note.startswith(NOT_RUN)],
        "asides": [note for note in notes if note.startswith(NOT_RUN)],
    }


def leaderboard(sheet: Sheet) -> Json:
    """Metrics, and a row per triple: names, scores, intervals, cost; ``record`` numbers the distinct records."""
    compact = blocks(sheet.merged, TableOptions(layout="compact"), measured=True)
    usual = {m.name for block in compact for m in block.metrics}
    metrics = [
        {
            **{"name": m.name, "title": visible(m.title), "up": m.higher_is_better, "unit": visible(m.unit)},
            **{"digits": m.digits, "ranked": m.ranked and not m.per_backbone, "source": visible(m.source)},
        }
        for m in sheet.boot.metrics
    ]
    intervals = sheet.boot.intervals(LEVEL)
    plan, primary = sheet.boot.plan, sheet.primary
    return {
        "metrics": metrics,
        "shown": [
            *(m.name for m in sheet.boot.metrics if m.name in usual),
            *([COST] if any(block.shows(COST) for block in compact) else []),
            *(["map"] if any(block.shows(MEASURED) for block in compact) else []),
        ],
        "primary": "" if primary is None else primary.name,
        "triples": [
            {
                **_names(sheet, triple),
                "scores": {name: value for name, value in sheet.boot.points[triple].items() if np.isfinite(value)},
                "intervals": {name: [i.low, i.high] for name, i in intervals[triple].items()},
                **_costs(sheet, triple),
            }
            for triple in sheet.merged.triples
        ],
        "intervals": f"{100 * LEVEL:.0f} % intervals: image bootstrap, {plan.count} resamples, seed {plan.seed}",
        "beats": _beats(sheet),
        "alpha": ALPHA,
        "clock": CLOCK,
    }


def looks(sheets: list[Sheet]) -> Json:
    """Colours of the heads, light and dark, by name; those of controls under an empty name."""
    found = head_looks(t.head for sheet in sheets for t in sheet.merged.triples) | {"": CONTROL_LOOK}
    return {
        visible(name): {"light": look.light, "dark": look.dark, "marker": look.marker} for name, look in found.items()
    }


def _names(sheet: Sheet, triple: Triple) -> Json:
    manifest, record = sheet.merged.manifest(triple), sheet.number(triple)
    same, titles = sheet.records[record], sheet.titles
    return {
        **{"id": visible(triple), "record": record, "control": sheet.is_control(triple)},
        "backbone": visible(titles.backbones[triple.backbone]),
        "cam": visible(titles.cams[triple.cam]),
        **{"head": visible(titles.heads[triple.head]), "headName": visible(triple.head)},
        "alias": "" if same == triple else visible(identity(manifest, triple)),
    }


def _costs(sheet: Sheet, triple: Triple) -> Json:
    manifest = sheet.merged.manifest(triple)
    timing = manifest.timings.triples.get(manifest.canonical(triple))
    return {
        "ms": timing.ms_per_image if timing else None,
        "forwards": timing.forwards if timing else None,
        "map": timing.map_forwards if timing else None,
        "cost": visible(cam_cost(manifest, triple.backbone, triple.cam)),
    }


def _beats(sheet: Sheet) -> dict[str, dict[int, list[int]]]:
    """Metric -> record -> records of the same network that it is significantly better than."""
    found: dict[str, dict[int, list[int]]] = {}
    for metric, pairs in sheet.won.items():
        won = found.setdefault(metric, {})
        for winner, loser in sorted(pairs):
            won.setdefault(winner, []).append(loser)
    return found
