"""Trained WSOL methods beside their published scores: each map, each method against CAM, and the sigmoid branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from ...atomic import write_text
from ...protocol import MapRule
from ..statistics.bootstrap import Bootstrap
from ..statistics.intervals import RESAMPLES, Interval
from ..tables.grid import Cell, Document, Grid, to_csv, to_markdown
from ..tables.latex import to_latex_document
from .changes import CHANGE_HEAD, DIGITS, ReproducedChange, change_grid, paired_change, points
from .published_wsol import published_wsol
from .reproduction import (
    CSV_HEAD,
    TITLES,
    ReproducedCell,
    ReproductionEntry,
    cell_grid,
    csv_row,
    entry_cells,
    metric_title,
    resampled,
    run_facts,
    run_notes,
)

TABLE = "wsol"
SOURCES = (
    "Choe et al., Evaluating WSOL Methods Right, CVPR 2020; under other normalisations Kim et al., Normalization "
    "Matters in WSOL, ICCV 2021"
)
NOTES = (
    "Few-shot: the network's features and a 1×1 convolution, trained on val with the foreground that boxes or masks "
    "give; its published rates and epochs are not public, ours are those of the network's recipe.",
    "The published Center map is not documented; ours is a Gaussian at the image's centre.",
)
ADDED_HEAD = (
    *("table", "dataset", "metric", "backbone", "cam", "protocol"),
    *("softmax", "sigmoid", "change", "low", "high", "verdict"),
)
ADDED = ("higher", "lower", "undecided")
"""What the sigmoid branch does to a score, by the interval of the change."""


@dataclass(frozen=True)
class AddedBySigmoid:
    """CAM's score by the softmax and by the sigmoid branch of one trained network, and the paired change in points."""

    dataset: str
    metric: str
    backbone: str
    protocol: str
    softmax: float
    sigmoid: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """Whether the score is higher or lower with the sigmoid branch."""
        low, high = round(self.interval.low, DIGITS), round(self.interval.high, DIGITS)
        return ADDED[0] if low > 0 else ADDED[1] if high < 0 else ADDED[2]

    def csv_row(self) -> tuple[str | float, ...]:
        """Values of ``ADDED_HEAD``."""
        return (
            *(TABLE, self.dataset, self.metric, self.backbone, "cam", self.protocol, self.softmax, self.sigmoid),
            *(self.sigmoid - self.softmax, self.interval.low, self.interval.high, self.verdict),
        )


@dataclass
class _Found:
    """What the runs say, in the order of the table."""

    cells: list[ReproducedCell] = field(default_factory=list)
    changes: list[ReproducedChange] = field(default_factory=list)
    added: list[AddedBySigmoid] = field(default_factory=list)
    accuracies: list[tuple[str, str, float, Interval]] = field(default_factory=list)
    """Data set, network, top-1 in percent, interval."""


def write_wsol(
    rows: pd.DataFrame,
    entries: Sequence[ReproductionEntry],
    out: Path,
    *,
    resamples: int = RESAMPLES,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Write ``wsol.md``, ``.tex``, ``.csv``, ``wsol_changes.csv`` and ``wsol_sigmoid.csv``; returns their paths.

    Args:
        rows: One a map: dataset, as_published (whose published values stand beside it), network, method, backbone, cam,
            head, metric, own (the map by which the method's published score is read).
        entries: What was measured. out: Folder. resamples: Of the image bootstrap. notes: Further footnotes.
    """
    found, seen = _Found(), set[str]()
    for entry in entries:
        table = with_published(rows[rows["dataset"] == entry.dataset], entry.run.manifest.protocol.map_rule)
        boot = resampled(table, entry, resamples)
        found.cells += entry_cells(table, entry, boot)
        found.changes += _changes(table, entry, boot)
        if boot is not None:
            found.added += _added(table, entry, boot)
            found.accuracies += [] if entry.dataset in seen else _accuracies(table, entry, boot)
        seen.add(entry.dataset)
    document = _document(found, entries, rows)
    document.notes.extend(notes)
    texts = {
        f"{TABLE}.md": to_markdown(document),
        f"{TABLE}.tex": to_latex_document([document]),
        f"{TABLE}.csv": to_csv(CSV_HEAD, [csv_row(TABLE, c) for c in found.cells]),
        f"{TABLE}_changes.csv": to_csv(CHANGE_HEAD, [c.csv_row(TABLE) for c in found.changes]),
        f"{TABLE}_sigmoid.csv": to_csv(ADDED_HEAD, [a.csv_row() for a in found.added]),
    }
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]


def with_published(rows: pd.DataFrame, rule: MapRule) -> pd.DataFrame:
    """Rows with ``value`` (percent), published under the rule's normalisation; NaN where nothing was published."""
    kind = rule.normalisation.partition("(")[0].replace("_", "")
    published = published_wsol()
    published = published[published["normalisation"] == kind].rename(columns={"dataset": "as_published"})
    keys = ["as_published", "network", "method"]
    joined = rows.merge(published[[*keys, "value"]], on=keys, how="left")
    return joined.assign(value=joined["value"].where(joined["own"]))


def _changes(rows: pd.DataFrame, entry: ReproductionEntry, boot: Bootstrap | None) -> list[ReproducedChange]:
    """Every method's own map against plain CAM of the same network."""
    own = rows[rows["own"]]
    base = {row["network"]: row for _, row in own[own["method"] == "cam"].iterrows()}
    found = []
    for _, row in own[own["method"] != "cam"].iterrows():
        before, metric = base[row["network"]], str(row["metric"])
        ours, interval = paired_change(boot, entry.triple(row), entry.triple(before), metric)
        change = round(float(row["value"]) - float(before["value"]), DIGITS)
        name = f"{row['method']} ({row['cam']})" if row["cam"] != row["method"] else str(row["cam"])
        found.append(
            ReproducedChange(entry.dataset, metric, row["network"], name, change, entry.protocol, ours, interval)
        )
    return found


def _added(rows: pd.DataFrame, entry: ReproductionEntry, boot: Bootstrap) -> list[AddedBySigmoid]:
    """CAM by both branches, for every trained network."""
    found = []
    for _, row in rows[rows["head"] == "sigmoid"].iterrows():
        after, metric = entry.triple(row), str(row["metric"])
        before = entry.triple(row.where(row.index != "head", "softmax"))
        change, interval = paired_change(boot, after, before, metric)
        if change is None or interval is None:
            continue
        scores = (boot.points[before][metric], boot.points[after][metric])
        found.append(AddedBySigmoid(entry.dataset, metric, row["backbone"], entry.protocol, *scores, interval))
    return found


def _accuracies(
    rows: pd.DataFrame, entry: ReproductionEntry, boot: Bootstrap
) -> list[tuple[str, str, float, Interval]]:
    """Top-1 of every trained network."""
    found = []
    for _, row in rows[(rows["cam"] == "cam") & (rows["head"] == "softmax")].iterrows():
        triple = entry.triple(row)
        if "top1_cls" in boot.points.get(triple, {}):
            scored = boot.points[triple]["top1_cls"], boot.interval(triple, "top1_cls")
            found.append((entry.dataset, str(row["backbone"]), *scored))
    return found


def _document(found: _Found, entries: Sequence[ReproductionEntry], rows: pd.DataFrame) -> Document:
    grids = []
    for dataset, metric in dict.fromkeys((c.dataset, c.metric) for c in found.cells):
        here, title = (dataset, metric), TITLES.get(dataset, dataset)
        name, code = f"{title}: {metric_title(metric)}", f"{dataset}, {metric}, "
        grids.append(cell_grid([c for c in found.cells if (c.dataset, c.metric) == here], name, code + "%"))
        changes = [c for c in found.changes if (c.dataset, c.metric) == here]
        grids.append(change_grid(changes, f"{name}, change against CAM", code + "points"))
        added = [a for a in found.added if (a.dataset, a.metric) == here]
        if added:
            grids.append(_added_grid(added, f"{name}, CAM by both branches", code + "%"))
        tops = [one for one in found.accuracies if one[0] == dataset]
        if tops:
            grids.append(_accuracy_grid(tops, f"{title}: accuracy of the networks", f"{dataset}, top1_cls, %"))
    return Document(
        "Trained WSOL methods",
        grids,
        run_facts(entries, SOURCES),
        [*NOTES, *_stand_ins(rows), *run_notes(entries)],
        lead=_answers(found.added),
    )


def _stand_ins(rows: pd.DataFrame) -> list[str]:
    pairs = rows[["dataset", "as_published"]].drop_duplicates().itertuples(index=False)
    return [
        f"{ours}: the published values of {TITLES[theirs]} stand beside it, which are of other images: a trial of the "
        "procedure."
        for ours, theirs in pairs
        if ours != theirs
    ]


def _answers(added: Sequence[AddedBySigmoid]) -> list[str]:
    """What the sigmoid branch adds to the methods, in a sentence a data set and protocol."""
    sentences = []
    for dataset, protocol in dict.fromkeys((a.dataset, a.protocol) for a in added):
        verdicts = [a.verdict for a in added if (a.dataset, a.protocol) == (dataset, protocol)]
        counts = ", ".join(f"{verdicts.count(v)} {v}" for v in ADDED)
        where = f"{TITLES.get(dataset, dataset)}, {protocol}"
        sentences.append(
            f"{where}: CAM by the sigmoid branch against CAM by the softmax branch of the same {len(verdicts)} trained "
            f"networks: {counts} (paired 95 % intervals)."
        )
    return sentences


def _added_grid(added: Sequence[AddedBySigmoid], title: str, code: str) -> Grid:
    head = ("Network", "Protocol", "softmax", "sigmoid", "Change", "95 % interval", "Sigmoid")
    rows: list[tuple[Cell, ...]] = [
        (
            *(Cell(a.backbone), Cell(a.protocol), Cell(f"{a.softmax:.2f}"), Cell(f"{a.sigmoid:.2f}")),
            *(Cell(points(a.sigmoid - a.softmax)), Cell(a.interval.text()), Cell(a.verdict)),
        )
        for a in added
    ]
    return Grid(title, head, rows, code=code, names=2)


def _accuracy_grid(tops: Sequence[tuple[str, str, float, Interval]], title: str, code: str) -> Grid:
    rows: list[tuple[Cell, ...]] = [
        (Cell(name), Cell(f"{top:.2f}"), Cell(interval.text())) for _, name, top, interval in tops
    ]
    return Grid(title, ("Network", "Top-1", "95 % interval"), rows, code=code)
