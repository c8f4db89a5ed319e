"""The short closing table of a run in the terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...text import visible
from ..records.load import Run
from ..scores.merge import Merged, merge_runs
from ..scores.shown import METRICS, Metric
from ..statistics.standing import Standing, standing
from .naming import CONTROL_MARK, backbone_title, row_title
from .notes import UNBEATEN_MARK, Footnotes, mark_notes
from .selection import TableOptions, blocks

SHORT = {
    "top1_cls": "Top-1",
    "gt_known_loc": "GT Loc",
    "max_box_acc_v2": "MBAv2",
    "pxap": "PxAP",
    "average_drop": "Drop",
    "increase_in_confidence": "Inc",
}
"""Built-in metrics of the closing table and their short names; ``scores.csv`` has all."""
NAME_WIDTH, CELL_WIDTH = 20, 8
"""Columns of a terminal for a row's name, at least, and for a number; metrics that do not fit are left out."""
LISTED = 5


def closing_table(run: Run, console: Console | None = None, stats: Standing | None = None) -> None:
    """Print the scores of a run (or how to get them), the images that were left out, and what is wrong with its folder.

    Args:
        run: From ``load_run``.
        console: Where to print (default: standard output).
        stats: Statistics of its tables, where they are made already.
    """
    console = console or Console(highlight=False)
    if run.manifest.protocol.loc_threshold == "val":
        for line in _val_advice(run):
            console.print(Text(visible(line)), soft_wrap=True)
    elif len(run.index):
        merged = merge_runs([run])
        score_table(merged, stats or standing(merged), console)
    rows = run.manifest.dataset.rows
    console.print(
        f"{len(run.index)} of {rows} images; protocol {run.manifest.protocol.name}, {run.manifest.protocol.digest}"
    )
    for failure in run.failures[:LISTED]:
        _line(console, f"left out: {failure.image_id} (row {failure.index}): {failure.reason}")
    if len(run.failures) > LISTED:
        _line(console, f"left out: {len(run.failures) - LISTED} more images, see {run.out / 'run.json'}")
    for note in run.notes:
        _line(console, f"note: {note}")
    for problem in run.problems[:LISTED]:
        _line(console, f"problem: {problem}")


def _val_advice(run: Run) -> tuple[str, str]:
    """What makes the tables of a run whose protocol takes its location threshold from another run."""
    done = f"The records are complete; protocol {run.manifest.protocol.name} takes the location threshold from val."
    if run.manifest.dataset.split == "val":
        return done, f"For the tables of a test run: cambench leaderboard TEST_RUN --val {shlex.quote(str(run.out))}"
    val = f"{run.out}-val"
    ours, theirs = shlex.quote(str(run.out)), shlex.quote(val)
    return done, (
        f"Give the same command with --split val --out {theirs}; then, for the tables: "
        f"cambench leaderboard {ours} --val {theirs}"
    )


def score_table(merged: Merged, stats: Standing, console: Console, *, explained: bool = True) -> None:
    """Print the scores of a run, or of one network of a run that goes on; rows of the same records are one row.

    Args:
        merged: Of ``merge_runs``.
        stats: Statistics of its tables.
        console: Where to print.
        explained: Whether the footnotes stand below. What marks mean is said once, below the closing table, whose rows
            have the letters of the footnotes too.
    """
    tables = blocks(merged, TableOptions())
    metrics = _fitting({m.name: m for block in tables for m in block.metrics}.values(), console.width)
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    # A narrow terminal wraps names, never numbers.
    table.add_column("backbone / method / head", min_width=NAME_WIDTH)
    for metric in metrics:
        table.add_column("\n".join([*_head(metric), metric.arrow]), justify="right", no_wrap=True)
    footnotes = Footnotes.of(merged, tables)
    for block in tables:
        table.add_section()
        manifest = merged.manifest(block.rows[0].triple)
        unbeaten = stats.unbeaten.get(block.backbone, {})
        marks = (UNBEATEN_MARK if m.name in unbeaten else "" for m in metrics)
        table.add_row(Text(visible(backbone_title(manifest, block.backbone)), style="bold"), *marks)
        for row in block.rows:
            letter = footnotes.mark(merged, row) if explained else ""
            name = f"  {row_title(merged.manifest(row.triple), row.triple)}{letter}"
            values = merged.scores[row.triple]
            cells = (f"{values[m.name]:.{m.digits}f}" if m.name in values else "–" for m in metrics)
            table.add_row(Text(visible(name), style="dim" if CONTROL_MARK in name else ""), *cells)
    console.print(table)
    if not explained:
        return
    for note in mark_notes(merged, tables, footnotes, stats, [m.name for m in metrics]):
        console.print(Text(visible(note)), soft_wrap=True)


def _fitting(metrics: Iterable[Metric], width: int) -> list[Metric]:
    """The metrics of the closing table that fit beside the names, in table order; those of the user go first."""
    known = {m.name for m in METRICS}
    listed = [m for m in metrics if m.name in SHORT or m.name not in known]
    kept, left = set[str](), width - NAME_WIDTH
    for metric in sorted(listed, key=lambda m: m.name in known):
        left -= max(CELL_WIDTH, *(len(word) + 2 for word in _head(metric)))
        if left < 0 and kept:
            break
        kept.add(metric.name)
    return [m for m in listed if m.name in kept]


def _head(metric: Metric) -> list[str]:
    """The lines of a column's head."""
    return [SHORT[metric.name]] if metric.name in SHORT else visible(metric.title).split()


def _line(console: Console, text: str) -> None:
    console.print(Text(visible(text), style="yellow"), soft_wrap=True)
