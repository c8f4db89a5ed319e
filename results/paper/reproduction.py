"""Reproduction report: the paper's tables beside records of this project, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

import pandas as pd

from ...atomic import write_text
from ...triple import Triple
from ..records.load import Run
from ..scores.shown import METRICS
from ..statistics.bootstrap import Bootstrap, bootstrap_run
from ..statistics.intervals import RESAMPLES, Interval
from ..tables.grid import Cell, Document, Grid, to_csv, to_markdown
from ..tables.latex import to_latex_document
from .changes import CHANGE_HEAD, ReproducedChange, change_facts, change_grid, entry_changes, points, protocol_grid
from .published import published_table

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
        "On one network with a GAP + linear head, CAM and Grad-CAM draw the same map under the same map rule; the "
        "published ResNet-50 has 44.17 % and 46.38 % Average Drop for the two on CUB, so networks or rules differ.",
    ),
    "table2": (
        "The published CAM and gradient rows come from different networks: ResNet-50 has 73.89 % Top-1 Cls in one and "
        "69.01 % in the other. On one network with a GAP + linear head, CAM and Grad-CAM draw the same map under "
        "the same map rule.",
        "The authors' code cannot run on OpenImages as published.",
    ),
}
PAPER = "Oh and Noh, Beyond Softmax, BMVC 2025"
NO_CHECKPOINTS = "The authors released no checkpoints: the networks here are not theirs."


@dataclass(frozen=True)
class ReproductionEntry:
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
    """One printed number beside ours; percent. NaN: nothing is printed; None: no record has the score."""

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
        return None if self.ours is None or isnan(self.published) else self.ours - self.published


def resampled(published: pd.DataFrame, entry: ReproductionEntry, resamples: int) -> Bootstrap | None:
    """Scores and resamples of the entry's triples that the published table has; None where it has none of them."""
    rows = published[published["dataset"] == entry.dataset]
    wanted = dict.fromkeys(entry.triple(row) for _, row in rows.iterrows())
    present = [t for t in wanted if t in entry.run.triples]
    return bootstrap_run(entry.run, present, resamples=resamples) if present else None


def entry_cells(published: pd.DataFrame, entry: ReproductionEntry, boot: Bootstrap | None) -> list[ReproducedCell]:
    """Every printed number of one data set under one protocol."""
    cells = []
    rows = published[published["dataset"] == entry.dataset]
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
                network=Triple.parse(triple).backbone,
                images=len(entry.run.index),
            )
        )
    return cells


def reproduction_document(
    table: str,
    entries: Sequence[ReproductionEntry],
    cells: Sequence[ReproducedCell],
    changes: Sequence[ReproducedChange] = (),
) -> Document:
    """Per data set and metric: published beside ours under every protocol, then the change by the sigmoid branch."""
    grids = []
    for dataset, metric in dict.fromkeys((c.dataset, c.metric) for c in cells):
        here = [c for c in cells if (c.dataset, c.metric) == (dataset, metric)]
        name, code = f"{TITLES.get(dataset, dataset)}: {metric_title(metric)}", f"{dataset}, {metric}, %"
        grids.append(cell_grid(here, name, code))
        moved = [c for c in changes if (c.dataset, c.metric) == (dataset, metric)]
        if moved:
            grids.append(change_grid(moved, f"{name}, change by the sigmoid branch", f"{dataset}, {metric}, points"))
    return Document(
        f"Reproduction of {table.replace('table', 'Table ')}",
        grids,
        run_facts(entries) + change_facts(changes),
        [*FOOTNOTES[table], NO_CHECKPOINTS, *run_notes(entries)],
    )


def cell_grid(cells: Sequence[ReproducedCell], title: str, code: str) -> Grid:
    """Published beside ours under every protocol."""
    protocols = list(dict.fromkeys(c.protocol for c in cells))
    rows: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        key = (cell.backbone, cell.cam, cell.head)
        rows.setdefault(key, [*map(Cell, key), Cell("–" if isnan(cell.published) else f"{cell.published:.2f}")])
    for protocol in protocols:
        found = {(c.backbone, c.cam, c.head): c for c in cells if c.protocol == protocol}
        for key, row in rows.items():
            row += _cells(found.get(key))
    head = ("Network", "Method", "Head", "Published", *("Ours", "Difference", "95 % interval") * len(protocols))
    return protocol_grid(title, code, head, [tuple(r) for r in rows.values()], protocols, names=3)


def metric_title(name: str) -> str:
    """A metric's title and the direction in which it is better."""
    metric = next(m for m in METRICS if m.name == name)
    return f"{metric.title} {metric.arrow}"


def write_reproduction(
    table: str,
    entries: Sequence[ReproductionEntry],
    out: Path,
    *,
    resamples: int = RESAMPLES,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write ``{table}.md``, ``.tex``, ``.csv`` and ``{table}_changes.csv`` to ``out``; returns their paths.

    Args:
        table: ``table1`` or ``table2``. entries: What was measured.
        out: Folder. resamples: Of the image bootstrap. notes: Further footnotes (how this reproduction differs).
    """
    published = published_table(table)
    cells, changes = list[ReproducedCell](), list[ReproducedChange]()
    for entry in entries:
        boot = resampled(published, entry, resamples)
        cells += entry_cells(published, entry, boot)
        changes += entry_changes(published, entry.dataset, entry.protocol, entry.triple, boot)
    document = reproduction_document(table, entries, cells, changes)
    document.notes.extend(notes)
    texts = {
        f"{table}.md": to_markdown(document),
        f"{table}.tex": to_latex_document([document]),
        f"{table}.csv": to_csv(CSV_HEAD, [csv_row(table, c) for c in cells]),
        f"{table}_changes.csv": to_csv(CHANGE_HEAD, [c.csv_row(table) for c in changes]),
    }
    paths = []
    for name, text in texts.items():
        write_text(path := out / name, text)
        paths.append(path)
    return paths


def _cells(cell: ReproducedCell | None) -> list[Cell]:
    if cell is None or cell.ours is None or cell.interval is None:
        return [Cell("–"), Cell("–"), Cell("–")]
    apart = "–" if cell.difference is None else points(cell.difference)
    return [Cell(f"{cell.ours:.2f}"), Cell(apart), Cell(cell.interval.text())]


def csv_row(table: str, cell: ReproducedCell) -> tuple[str | float | int | None, ...]:
    """Values of ``CSV_HEAD``."""
    published = None if isnan(cell.published) else cell.published
    low, high = (cell.interval.low, cell.interval.high) if cell.interval is not None else (None, None)
    return (
        *(table, cell.dataset, cell.metric, cell.backbone, cell.cam, cell.head, published, cell.protocol),
        *(cell.ours, cell.difference, low, high, cell.network, cell.images),
    )


def run_facts(entries: Sequence[ReproductionEntry], published: str = PAPER) -> list[tuple[str, str]]:
    """Where the published numbers come from, what differences are, and what each run was over."""
    facts = [("Published", published), ("Difference", "ours minus published, in points")]
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


def run_notes(entries: Sequence[ReproductionEntry]) -> list[str]:
    """Networks that stand in for the paper's, and records that are incomplete."""
    notes = []
    # A network with a method's suffix stands in as its base does.
    replaced = {
        theirs: ours for e in entries for theirs, ours in e.networks.items() if theirs != ours and "+" not in theirs
    }
    if replaced:
        named = ", ".join(f"{ours} for {theirs}" for theirs, ours in replaced.items())
        notes.append(f"Other networks stand in for the paper's ({named}): this is a trial of the procedure.")
    if any(c.run.problems for c in entries):
        notes.append("Some records are incomplete: " + "; ".join(p for e in entries for p in e.run.problems[:3]))
    return notes
