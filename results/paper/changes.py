"""The paper's claims beside ours: how far the sigmoid branch moves each score, published and measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from ..statistics.bootstrap import Bootstrap
from ..statistics.intervals import Interval, bootstrap_interval
from ..tables.grid import Cell, Grid

CHANGE_HEAD = (
    *("table", "dataset", "metric", "backbone", "cam", "published_change", "protocol"),
    *("our_change", "low", "high", "verdict"),
)
VERDICTS = ("same direction", "opposite", "undecided")
"""Whether our interval is on the published side of zero, on the other, or on both (or at zero)."""
DIGITS = 2
"""Decimals of a printed score. A change that they do not show is none: equal maps differ in their last bits."""
KEY = ["backbone", "cam", "metric"]


@dataclass(frozen=True)
class ReproducedChange:
    """Score with the sigmoid branch minus score without it, in points; None where we have no records of both."""

    dataset: str
    metric: str
    backbone: str
    cam: str
    published: float
    protocol: str
    ours: float | None
    interval: Interval | None

    @property
    def verdict(self) -> str:
        """Whether ours bears out the published direction, by our interval alone; empty where none was published."""
        if self.interval is None or not self.published:
            return ""
        same, opposite, undecided = VERDICTS
        low, high = round(self.interval.low, DIGITS), round(self.interval.high, DIGITS)
        if low <= 0 <= high:
            return undecided
        return same if (low > 0) == (self.published > 0) else opposite

    def csv_row(self, table: str) -> tuple[str | float | None, ...]:
        """Values of ``CHANGE_HEAD``."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (None, None)
        return (
            *(table, self.dataset, self.metric, self.backbone, self.cam, self.published, self.protocol),
            *(self.ours, low, high, self.verdict),
        )


def entry_changes(
    published: pd.DataFrame,
    dataset: str,
    protocol: str,
    triple_of: Callable[[pd.Series], str],
    boot: Bootstrap | None,
) -> list[ReproducedChange]:
    """Every pair of a softmax and a sigmoid cell of one data set, with the paired bootstrap interval of our change.

    Args:
        published: Table of ``published_table``. triple_of: Our triple for a row of it.
        boot: Scores and resamples of our triples, over the same images; None without records.
    """
    rows = published[published["dataset"] == dataset]
    base = {tuple(row[KEY]): row for _, row in rows[rows["head"] == "softmax"].iterrows()}
    found = []
    for _, row in rows[rows["head"] == "sigmoid"].iterrows():
        before = base.get(tuple(row[KEY]))
        if before is None:
            continue
        metric = str(row["metric"])
        ours, interval = paired_change(boot, triple_of(row), triple_of(before), metric)
        change = round(float(row["value"]) - float(before["value"]), 2)
        found.append(ReproducedChange(dataset, metric, row["backbone"], row["cam"], change, protocol, ours, interval))
    return found


def paired_change(boot: Bootstrap | None, after: str, before: str, metric: str) -> tuple[float | None, Interval | None]:
    """Score of one triple minus that of another on the same images, in points, and its interval; None without both."""
    if boot is None or any(metric not in boot.points.get(triple, {}) for triple in (after, before)):
        return None, None
    ours = boot.points[after][metric] - boot.points[before][metric]
    return ours, bootstrap_interval(boot.samples[after][metric] - boot.samples[before][metric], ours)


def points(value: float) -> str:
    """A difference in points, with its sign; what the decimals do not show is ``+0.00``."""
    return f"{round(value, DIGITS) + 0.0:+.{DIGITS}f}"


def change_facts(changes: Sequence[ReproducedChange]) -> list[tuple[str, str]]:
    """Per protocol, how many of the published changes ours bear out."""
    facts = []
    for protocol in dict.fromkeys(c.protocol for c in changes):
        found = [c.verdict for c in changes if c.protocol == protocol and c.verdict]
        if found:
            counts = ", ".join(f"{found.count(v)} {v}" for v in VERDICTS)
            facts.append((f"Changes by the sigmoid branch, {protocol}", f"{counts}, of {len(found)}"))
    return facts


def change_grid(changes: Sequence[ReproducedChange], title: str, code: str) -> Grid:
    """Published change beside ours under every protocol."""
    protocols = list(dict.fromkeys(c.protocol for c in changes))
    rows: dict[tuple[str, str], list[Cell]] = {}
    for change in changes:
        key = (change.backbone, change.cam)
        rows.setdefault(key, [*map(Cell, key), Cell(points(change.published))])
    for protocol in protocols:
        found = {(c.backbone, c.cam): c for c in changes if c.protocol == protocol}
        for key, row in rows.items():
            row += _cells(found.get(key))
    head = ("Network", "Method", "Published", *("Ours", "95 % interval", "Direction") * len(protocols))
    return protocol_grid(title, code, head, [tuple(r) for r in rows.values()], protocols, names=2)


def protocol_grid(
    title: str, code: str, head: tuple[str, ...], rows: list[tuple[Cell, ...]], protocols: Sequence[str], names: int
) -> Grid:
    """A grid whose last columns come in threes, one three a protocol; networks and methods stand once in LaTeX."""
    over = (("", names + 1), *((p, 3) for p in protocols)) if len(protocols) > 1 else ()
    rules = frozenset(i for i in range(len(rows)) if i == 0 or rows[i][0].text != rows[i - 1][0].text)
    for column in range(names - 1):
        rows = _spanned(rows, column)
    return Grid(title, head, rows, code=code, rules=rules, names=names, over=over)


def _spanned(rows: list[tuple[Cell, ...]], column: int) -> list[tuple[Cell, ...]]:
    """Neighbouring rows that agree up to ``column`` show that cell once."""
    found = list[tuple[Cell, ...]]()
    for _, group in groupby(rows, key=lambda row: tuple(c.text for c in row[: column + 1])):
        block = list(group)
        for i, row in enumerate(block):
            cell = Cell(row[column].text, span=0 if i else len(block))
            found.append((*row[:column], cell, *row[column + 1 :]))
    return found


def _cells(change: ReproducedChange | None) -> list[Cell]:
    if change is None or change.ours is None or change.interval is None:
        return [Cell("–"), Cell("–"), Cell("–")]
    return [Cell(points(change.ours)), Cell(change.interval.text()), Cell(change.verdict)]
