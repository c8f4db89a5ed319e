"""The short closing table of a run in the terminal."""

from __future__ import annotations

import shlex

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...text import visible
from ..records.load import Run
from ..scores.merge import Merged, merge_runs
from .naming import CONTROL_MARK, backbone_title, row_title
from .notes import Footnotes
from .selection import TableOptions, blocks

SHORT = {
    "top1_cls": "Top-1",
    "gt_known_loc": "GT Loc",
    "max_box_acc_v2": "MBAv2",
    "pxap": "PxAP",
    "average_drop": "Drop",
    "increase_in_confidence": "Inc",
}
"""Metrics of the closing table and their short names; ``scores.csv`` has all."""
NAME_WIDTH, CELL_WIDTH = 20, 8
"""Columns of a terminal for a row's name, at least, and for a number; metrics that do not fit are left out."""
LISTED = 5


def closing_table(run: Run, console: Console | None = None) -> None:
    """Print the scores of a run (or how to get them), the images that were left out, and what is wrong with its folder.

    Args:
        run: From ``load_run``.
        console: Where to print (default: standard output).
    """
    console = console or Console(highlight=False)
    if run.manifest.protocol.loc_threshold == "val":
        for line in _val_advice(run):
            console.print(Text(visible(line)), soft_wrap=True)
    elif len(run.index):
        table, notes = _table(merge_runs([run]), max(1, (console.width - NAME_WIDTH) // CELL_WIDTH))
        console.print(table)
        for note in notes:
            console.print(Text(visible(note)), soft_wrap=True)
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


def _table(merged: Merged, most: int) -> tuple[Table, list[str]]:
    """The table, rows of the same records as one, and the footnotes that say so."""
    metrics = [m for m in merged.metrics if m.name in SHORT][:most]
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    # A narrow terminal wraps names, never numbers.
    table.add_column("backbone / method / head", min_width=NAME_WIDTH)
    for metric in metrics:
        table.add_column(f"{SHORT[metric.name]}\n{metric.arrow}", justify="right", no_wrap=True)
    tables = blocks(merged, TableOptions())
    footnotes = Footnotes.of(merged, tables)
    for block in tables:
        table.add_section()
        manifest = merged.manifest(block.rows[0].triple)
        table.add_row(Text(visible(backbone_title(manifest, block.backbone)), style="bold"))
        for row in block.rows:
            name = f"  {row_title(merged.manifest(row.triple), row.triple)}{footnotes.mark(merged, row)}"
            values = merged.scores[row.triple]
            cells = (f"{values[m.name]:.{m.digits}f}" if m.name in values else "–" for m in metrics)
            table.add_row(Text(visible(name), style="dim" if CONTROL_MARK in name else ""), *cells)
    return table, footnotes.notes


def _line(console: Console, text: str) -> None:
    console.print(Text(visible(text), style="yellow"), soft_wrap=True)
