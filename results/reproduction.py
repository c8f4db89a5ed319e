"""Reproduction report: the paper's tables beside records of this project, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ..atomic import write_text
from .bootstrap import bootstrap_run
from .grid import Cell, Document, Grid, to_csv, to_latex_document, to_markdown
from .intervals import RESAMPLES, Interval
from .load import Run
from .paper_tables import published_table
from .scores import METRICS

TITLES = {"cub": "CUB-200-2011", "stanford_cars": "Stanford Cars", "imagenet": "ImageNet-1K"}
TITLES["openimages30k"] = "OpenImages-30K"
CSV_HEAD = (
    *("table", "dataset", "metric", "backbone", "cam", "head", "published", "protocol"),
    *("ours", "difference", "low", "high", "network", "images"),
)
FOOTNOTES = {
    "table1": (
        "The paper prints 6,033/5,755 images for CUB-200-2011; no published split has these sizes. "
        "Ours is the official split of 5,994/5,794.",
        "Three Average Drop cells of the published table get worse with the sigmoid branch: Grad-CAM++ and Layer-CAM "
        "of VGG-16 on CUB (+2.87, +4.39), and CAM of VGG-16 on Stanford Cars (+12.13), which the text does not "
        "mention.",
    ),
    "table2": (
        "The published CAM and gradient rows come from different networks: ResNet-50 has 73.89 % Top-1 Cls in one and "
        "69.01 % in the other. On one network with a GAP + linear head, CAM and Grad-CAM draw the same map under "
        "the same map rule.",
        "The authors' code cannot run on OpenImages as published.",
    ),
}
NO_CHECKPOINTS = "The authors released no checkpoints: the networks here are not theirs."


@dataclass(frozen=True)
class Entry:
    """Records of one data set under one protocol, and which network stands where the paper's did."""

    dataset: str
    protocol: str
    run: Run
    networks: Mapping[str, str] = field(default_factory=dict)
    """Network of the paper -> network of the run, where they differ."""

    def triple(self, row: pd.Series) -> str:
        """The run's triple for a row of the published table."""
        return f"{self.networks.get(row['backbone'], row['backbone'])}/{row['cam']}/{row['head']}"


@dataclass(frozen=True)
class ReproducedCell:
    """One printed number beside ours; percent. ``ours`` and ``interval`` are None where no record has the score."""

    dataset: str
    metric: str
    backbone: str
    cam: str
    head: str
    published: float
    protocol: str
    ours: float | None
    interval: Interval | None
    network: str
    images: int

    @property
    def difference(self) -> float | None:
        """Ours minus published, in points."""
        return None if self.ours is None else self.ours - self.published


def reproduced_cells(table: str, entries: Sequence[Entry], resamples: int = RESAMPLES) -> list[ReproducedCell]:
    """Every printed number of a table under every protocol, in the order of the published table.

    Args:
        table: ``table1`` or ``table2``. entries: What was measured; data sets without an entry are left out.
        resamples: Of the image bootstrap behind the 95 % intervals.

    Raises:
        ResultsError: No such table; damaged records.
    """
    published = published_table(table)
    cells = []
    for entry in entries:
        rows = published[published["dataset"] == entry.dataset]
        wanted = dict.fromkeys(entry.triple(row) for _, row in rows.iterrows())
        present = [t for t in wanted if t in entry.run.triples]
        boot = bootstrap_run(entry.run, present, resamples=resamples) if present else None
        for _, row in rows.iterrows():
            triple, metric = entry.triple(row), str(row["metric"])
            ours = boot.points[triple].get(metric) if boot is not None and triple in boot.points else None
            cells.append(
                ReproducedCell(
                    dataset=entry.dataset,
                    metric=metric,
                    backbone=row["backbone"],
                    cam=row["cam"],
                    head=row["head"],
                    published=float(row["value"]),
                    protocol=entry.protocol,
                    ours=ours,
                    interval=boot.interval(triple, metric) if boot is not None and ours is not None else None,
                    network=triple.split("/")[0],
                    images=len(entry.run.index),
                )
            )
    return cells


def reproduction_document(table: str, entries: Sequence[Entry], cells: Sequence[ReproducedCell]) -> Document:
    """One table a data set and metric: published, and per protocol ours, the difference and its 95 % interval."""
    metrics = {m.name: m for m in METRICS}
    protocols = list(dict.fromkeys(c.protocol for c in cells))
    grids = []
    for dataset, metric in dict.fromkeys((c.dataset, c.metric) for c in cells):
        here = [c for c in cells if (c.dataset, c.metric) == (dataset, metric)]
        head = ["Triple", "Published"]
        for protocol in protocols:
            suffix = f" ({protocol})" if len(protocols) > 1 else ""
            head += [f"Ours{suffix}", f"Difference{suffix}", f"95 % interval{suffix}"]
        rows: dict[str, list[Cell]] = {}
        for cell in here:
            name = f"{cell.backbone}/{cell.cam}/{cell.head}"
            rows.setdefault(name, [Cell(name), Cell(f"{cell.published:.2f}")])
        for protocol in protocols:
            found = {f"{c.backbone}/{c.cam}/{c.head}": c for c in here if c.protocol == protocol}
            for name, row in rows.items():
                row += _cells(found.get(name))
        title = f"{TITLES.get(dataset, dataset)}: {metrics[metric].title} {metrics[metric].arrow}"
        grids.append(Grid(title, tuple(head), [tuple(r) for r in rows.values()], code=f"{dataset}, {metric}, %"))
    return Document(
        f"Reproduction of {table.replace('table', 'Table ')}", grids, _facts(entries), _notes(table, entries)
    )


def write_reproduction(
    table: str, entries: Sequence[Entry], out: Path, *, resamples: int = RESAMPLES, notes: Sequence[str] = ()
) -> list[Path]:
    """Write ``{table}.md``, ``.tex`` and ``.csv`` to ``out``; returns their paths.

    Args:
        table: ``table1`` or ``table2``. entries: What was measured.
        out: Folder. resamples: Of the image bootstrap. notes: Further footnotes (how this reproduction differs).
    """
    cells = reproduced_cells(table, entries, resamples)
    document = reproduction_document(table, entries, cells)
    document.notes.extend(notes)
    texts = {
        "md": to_markdown(document),
        "tex": to_latex_document([document]),
        "csv": to_csv(CSV_HEAD, [_csv_row(table, c) for c in cells]),
    }
    paths = []
    for suffix, text in texts.items():
        write_text(path := out / f"{table}.{suffix}", text)
        paths.append(path)
    return paths


def _cells(cell: ReproducedCell | None) -> list[Cell]:
    if cell is None or cell.ours is None or cell.difference is None or cell.interval is None:
        return [Cell("–"), Cell("–"), Cell("–")]
    return [Cell(f"{cell.ours:.2f}"), Cell(f"{cell.difference:+.2f}"), Cell(cell.interval.text())]


def _csv_row(table: str, cell: ReproducedCell) -> tuple[str | float | int | None, ...]:
    low, high = (cell.interval.low, cell.interval.high) if cell.interval is not None else (None, None)
    return (
        *(table, cell.dataset, cell.metric, cell.backbone, cell.cam, cell.head, cell.published, cell.protocol),
        *(cell.ours, cell.difference, low, high, cell.network, cell.images),
    )


def _facts(entries: Sequence[Entry]) -> list[tuple[str, str]]:
    facts = [("Published", "Oh and Noh, Beyond Softmax, BMVC 2025"), ("Difference", "ours minus published, in points")]
    for entry in entries:
        manifest = entry.run.manifest
        lost = f", {len(entry.run.failures)} unreadable" if entry.run.failures else ""
        facts.append(
            (
                f"{TITLES.get(entry.dataset, entry.dataset)}, {entry.protocol}",
                f"{len(entry.run.index):,} images{lost}, data {manifest.dataset.fingerprint[:12]}, "
                f"protocol digest {manifest.protocol.digest}",
            )
        )
    return facts


def _notes(table: str, entries: Sequence[Entry]) -> list[str]:
    notes = [*FOOTNOTES[table], NO_CHECKPOINTS]
    replaced = {theirs: ours for e in entries for theirs, ours in e.networks.items() if theirs != ours}
    if replaced:
        named = ", ".join(f"{ours} for {theirs}" for theirs, ours in replaced.items())
        notes.append(f"Other networks stand in for the paper's ({named}): this is a trial of the procedure.")
    if any(c.run.problems for c in entries):
        notes.append("Some records are incomplete: " + "; ".join(p for e in entries for p in e.run.problems[:3]))
    return notes
