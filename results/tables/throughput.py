"""The throughput tables: shared pass, stages, triples, micro-benchmarks; from the timings of ``run.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ...triple import Triple
from ..records.load import Run
from ..records.manifest import RunManifest
from ..records.record_errors import RecordError
from ..records.timings import BackboneTiming, StageTiming
from .grid import Cell, Document, Grid
from .naming import backbone_title, cam_title, head_title

CsvRow = list[str | float | int | None]
CSV_HEAD = [
    *("kind", "backbone", "cam", "head", "stage", "device", "dtype", "batch_size", "images"),
    *("images_per_s", "ms_per_image", "iqr_ms", "samples", "per", "forwards", "peak_memory_mib", "peak_memory_of"),
]


def throughput_document(runs: Sequence[Run], benchmarks: Path | None = None) -> Document:
    """Tables of what the runs measured; tables without a figure are left out."""
    manifests = [run.manifest for run in runs]
    grids = [*_passes(manifests), *_stages(manifests), *_triples(manifests)]
    if benchmarks is not None:
        grids.append(benchmark_grid(benchmarks))
    devices = dict.fromkeys(d for m in manifests for d in m.devices)
    versions = dict.fromkeys(", ".join(f"{k} {v}" for k, v in sorted(m.versions.items())) for m in manifests)
    facts = [("Device", d) for d in devices] + [("Versions", v) for v in versions if v]
    notes = ["ms: milliseconds per image, median; in parentheses the interquartile range. Stages overlap in the run."]
    if not grids:
        notes = ["No timing was recorded."]
    return Document("Throughput", grids, facts, notes)


def throughput_rows(runs: Sequence[Run]) -> list[CsvRow]:
    """Rows of ``throughput.csv`` under ``CSV_HEAD``: one per shared pass, stage and triple."""
    rows: list[CsvRow] = []
    for manifest in (run.manifest for run in runs):
        for name, t in manifest.timings.backbones.items():
            where: CsvRow = [t.device, t.dtype, t.batch_size, t.images]
            memory: CsvRow = [t.peak_memory_mib, t.peak_memory_of]
            ms = 1000 / t.images_per_s if t.images_per_s else None
            rows.append(["pass", name, "", "", "", *where, t.images_per_s, ms, None, None, "", None, *memory])
            rows.append(
                ["maps", name, "", "", "", *where, None, t.forward_ms, None, None, "", t.map_forwards, None, ""]
            )
            for stage, s in t.stages.items():
                cost: CsvRow = [None, s.median_ms, s.iqr_ms, s.samples, s.per, None, None, ""]
                rows.append(["stage", name, "", "", stage, *where, *cost])
        for triple, one in manifest.timings.triples.items():
            backbone, cam, head = Triple.parse(triple).names
            known = manifest.timings.backbones.get(backbone)
            where = [known.device, known.dtype, known.batch_size, known.images] if known else ["", "", None, None]
            cost = [one.images_per_s, one.ms_per_image, one.iqr_ms, None, "", one.forwards, None, ""]
            rows.append(["triple", backbone, cam, head, "", *where, *cost])
    return rows


def benchmark_grid(file: Path) -> Grid:
    """Table of a ``pytest-benchmark`` JSON file: median and IQR in ms, rounds.

    Raises:
        RecordError: The file is missing or is no such JSON.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))["benchmarks"]
        rows = [_benchmark_row(entry) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{file}: no pytest-benchmark JSON ({type(error).__name__}: {error})") from None
    return Grid("Micro-benchmarks", ("Benchmark", "median (ms)", "IQR (ms)", "rounds"), rows)


def _benchmark_row(entry: dict[str, Any]) -> tuple[Cell, ...]:
    stats = entry["stats"]
    median, iqr = (_number(1000 * float(stats[key])) for key in ("median", "iqr"))
    return Cell(str(entry["name"])), Cell(median), Cell(iqr), Cell(str(int(stats["rounds"])))


def _passes(manifests: Iterable[RunManifest]) -> list[Grid]:
    head = (
        *("Backbone", "device", "dtype", "batch", "images/s", "forward (ms)"),
        *("all maps (forwards)", "maps", "distinct", "peak memory (MiB)"),
    )
    rows = [
        (Cell(backbone_title(m, name)), *map(Cell, _pass_row(t)))
        for m in manifests
        for name, t in m.timings.backbones.items()
    ]
    return [Grid("Shared pass", head, rows)] if rows else []


def _pass_row(t: BackboneTiming) -> tuple[str, ...]:
    counts = ("–" if n is None else str(n) for n in (t.map_pairs, t.distinct_maps))
    memory = "–" if t.peak_memory_mib is None else f"{t.peak_memory_mib:.0f} ({t.peak_memory_of})"
    measured = (_number(t.images_per_s), _number(t.forward_ms), _number(t.map_forwards))
    return (t.device, t.dtype, str(t.batch_size), *measured, *counts, memory)


def _stages(manifests: Iterable[RunManifest]) -> list[Grid]:
    timed = [(m, name, t) for m in manifests for name, t in m.timings.backbones.items() if t.stages]
    stages = list(dict.fromkeys(stage for _, _, t in timed for stage in t.stages))
    if not stages:
        return []
    rows = [
        (Cell(backbone_title(m, name)), *(_stage_cell(t.stages.get(stage)) for stage in stages)) for m, name, t in timed
    ]
    return [Grid("Stages, ms per image", ("Backbone", *stages), rows)]


def _stage_cell(stage: StageTiming | None) -> Cell:
    return Cell("–") if stage is None else Cell(f"{_number(stage.median_ms)} ({_number(stage.iqr_ms)})")


def _triples(manifests: Iterable[RunManifest]) -> list[Grid]:
    rows, rules, last = list[tuple[Cell, ...]](), set[int](), ""
    for m in manifests:
        for triple in m.triples:
            timing = m.timings.triples.get(m.canonical(triple))
            if timing is None:
                continue
            backbone, cam, head = triple.names
            if backbone != last:
                rules.add(len(rows))
                last = backbone
            spread = "" if timing.iqr_ms is None else f" ({_number(timing.iqr_ms)})"
            names = Cell(f"{backbone_title(m, backbone)} / {cam_title(m, cam)} / {head_title(m, head)}")
            cost = (_number(timing.images_per_s), f"{_number(timing.ms_per_image)}{spread}", _number(timing.forwards))
            rows.append((names, *map(Cell, cost)))
    head_row = ("Triple, on its own", "images/s", "ms per image", "forwards")
    return [Grid("Triples", head_row, rows, rules=frozenset(rules))] if rows else []


def _number(value: float | None) -> str:
    """Three significant digits, never in exponent form for the magnitudes of a table."""
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3f}"
