"""A comparison as Markdown, CSV, and tables in the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .compare import ClassRow, Comparison, ImageRow, PairReport
from .escape import visible
from .grid import Cell, Document, Grid, Tone, to_csv
from .paired import Difference
from .scores import Metric

WIDE = 10_000
"""Columns of a terminal on which any table fits."""
WORD = 12
"""Columns of a terminal for a word of a name that is kept in one piece."""
CLASSES = 10
"""Classes of a printed table; the CSV has all."""
MARKS = {"better": "▲ better", "worse": "▼ worse", "": "≈"}
TONES: dict[str, Tone] = {"better": "good", "worse": "bad", "": ""}
STYLES = {"good": "green", "bad": "red", "": ""}
CsvRow = list[str | float | int | None]
CSV_HEAD = [
    *("kind", "first", "second", "metric", "unit", "name", "index", "class", "images", "a", "a_low", "a_high"),
    *("b", "b_low", "b_high", "difference", "difference_low", "difference_high", "test", "p", "p_holm"),
    *("effect", "effect_size", "verdict", "better", "worse"),
]


def compare_document(comparison: Comparison, *, classes: int = CLASSES) -> Document:
    """Differences, images and classes of every pair, with what they rest on."""
    grids = [grid for pair in comparison.pairs if not pair.same for grid in _grids(comparison, pair, classes)]
    return Document("Comparison", grids, _facts(comparison), _notes(comparison))


def compare_csv(comparison: Comparison) -> str:
    """Everything as one CSV: rows of kind ``metric``, ``image`` and ``class``, unrounded."""
    rows: list[CsvRow] = []
    for pair in comparison.pairs:
        rows += [_metric_row(comparison, d) for d in pair.differences]
        rows += [_image_row(pair, row) for row in (*pair.gains, *pair.losses)]
        rows += [_class_row(pair, row) for row in pair.classes]
    return to_csv(CSV_HEAD, rows)


def print_document(document: Document, console: Console) -> None:
    """A document in the terminal: facts, tables, notes; any text as text.

    A narrow terminal wraps names and leaves the columns ``Grid.details`` out; it says so and cuts no number.
    """
    for name, value in document.facts:
        console.print(Text(f"{name}: {visible(value)}"), soft_wrap=True)
    for grid in document.grids:
        console.print()
        console.print(Text(visible(grid.title), style="bold"), soft_wrap=True)
        table, hidden = _table(grid, frozenset()), frozenset[str]()
        unbounded = console.options.update(max_width=WIDE)
        if grid.details and Measurement.get(console, unbounded, table).minimum > console.width:
            table, hidden = _table(grid, grid.details, gap=0), grid.details
        console.print(table)
        if hidden:
            console.print(
                Text(f"Not shown in {console.width} columns: {', '.join(h for h in grid.head if h in hidden)}")
            )
    for note in document.notes:
        console.print(Text(visible(note)), soft_wrap=True)


def _table(grid: Grid, hidden: frozenset[str], gap: int = 1) -> Table:
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, gap, 0, 0))
    shown = [i for i, head in enumerate(grid.head) if head not in hidden]
    rows = [[_text(row[i], numbers=i >= grid.names) for i in shown] for row in grid.rows]
    for k, i in enumerate(shown):
        numbers = i >= grid.names
        # An interval has a space inside: without its width as the least one, it would count as two words and be cut.
        # A name wraps between its words; only a very long word is folded.
        lines = [line for row in rows for line in (row[k].plain.split("\n") if numbers else row[k].plain.split())]
        least = max(map(cell_len, lines), default=None)
        table.add_column(
            Text(visible(grid.head[i])),
            justify="right" if numbers else "left",
            overflow="fold",
            no_wrap=numbers,
            min_width=least if numbers or least is None else min(least, WORD),
        )
    for row in rows:
        table.add_row(*row)
    return table


def _text(cell: Cell, *, numbers: bool) -> Text:
    style = f"{'bold ' if cell.bold else ''}{STYLES[cell.tone]}".strip()
    # An interval or a remark stands below its value, which keeps columns narrow.
    text = visible(cell.text).replace(" [", "\n[").replace(" (", "\n(") if numbers else visible(cell.text)
    return Text(text, style=style)


def p_text(p: float) -> str:
    """A p-value as tables print it."""
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    data, protocol = comparison.run.manifest.dataset, comparison.run.manifest.protocol
    plan = comparison.boot.plan
    return [
        ("Data set", f"{data.title or data.name}, split {data.split}"),
        ("Images", f"{plan.images} of {data.rows}, the same for every entry"),
        ("Protocol", f"{protocol.name} (version {protocol.version}, digest {protocol.digest})"),
        ("Intervals", f"{comparison.level:.0%}, image bootstrap, {plan.count} resamples, seed {plan.seed}"),
    ]


def _notes(comparison: Comparison) -> list[str]:
    notes = list(comparison.notes)
    family = len(comparison.differences)
    if family:
        notes.append(
            f"Differences are second minus first. ▲ ▼: significant at {comparison.alpha:g} after Holm's correction "
            f"over {family} test(s) of this table; ≈: not significant."
        )
    if any(d.test == "McNemar" for d in comparison.differences):
        notes.append(
            "McNemar: exact, with the number of images that only the first : only the second gets right; effect g "
            "(share of these images, from 1/2). Otherwise a paired bootstrap; effect d (standardised difference)."
        )
    if any(pair.by is not None and pair.by.name == "pxap" for pair in comparison.pairs):
        notes.append(
            "PxAP of an image or class: of each image's own pixels, then averaged; the score pools all pixels."
        )
    return notes


def _grids(comparison: Comparison, pair: PairReport, classes: int) -> list[Grid]:
    title = f"{pair.second} against {pair.first}"
    head = ("Metric", "first", "second", "difference", "p", "p (Holm)", "test", "effect", "")
    rows = [_difference_cells(comparison, d) for d in pair.differences]
    grids = [Grid(title, head, rows, details=frozenset({"p", "test", "effect"}))]
    if pair.by is None:
        return grids
    unit = f"{pair.by.title} {pair.by.arrow}" + (f" ({title})" if len(comparison.pairs) > 1 else "")
    image_head = ("Image", "class", "first", "second", "difference")
    for what, found in (("better", pair.gains), ("worse", pair.losses)):
        if found:
            cells = [_image_cells(row, pair.by.digits) for row in found]
            grids.append(Grid(f"Images on which the second is most {what}: {unit}", image_head, cells, names=2))
    shown = pair.classes[:classes]
    if shown:
        rest = len(pair.classes) - len(shown)
        more = f" (largest differences; {rest} more in the CSV)" if rest else ""
        class_head = ("Class", "images", "first", "second", "difference", "better on", "worse on")
        grids.append(Grid(f"By class: {unit}{more}", class_head, [_class_cells(r, pair.by.digits) for r in shown]))
    return grids


def _difference_cells(comparison: Comparison, d: Difference) -> tuple[Cell, ...]:
    digits = d.metric.digits
    boot, verdict = comparison.boot, d.verdict(comparison.alpha)
    a, b = (boot.interval(e, d.metric.name, comparison.level).text(digits) for e in (d.first, d.second))
    test = d.test if d.discordant is None else f"{d.test} {d.discordant[0]} : {d.discordant[1]}"
    return (
        Cell(f"{d.metric.title} {d.metric.arrow}"),
        Cell(f"{d.a:.{digits}f} {a}"),
        Cell(f"{d.b:.{digits}f} {b}"),
        Cell(f"{d.value:+.{digits}f} {d.interval.text(digits)}", bold=bool(verdict), tone=TONES[verdict]),
        Cell(p_text(d.p)),
        Cell(p_text(d.p_holm)),
        Cell(test),
        Cell(d.effect_size),
        Cell(MARKS[verdict], tone=TONES[verdict]),
    )


def _image_cells(row: ImageRow, digits: int) -> tuple[Cell, ...]:
    return Cell(row.image_id), Cell(row.label), *_numbers(row.a, row.b, digits)


def _class_cells(row: ClassRow, digits: int) -> tuple[Cell, ...]:
    counts = Cell(str(row.better)), Cell(str(row.worse))
    return Cell(row.label), Cell(str(row.images)), *_numbers(row.a, row.b, digits), *counts


def _numbers(a: float, b: float, digits: int) -> Iterable[Cell]:
    return Cell(f"{a:.{digits}f}"), Cell(f"{b:.{digits}f}"), Cell(f"{b - a:+.{digits}f}")


def _metric_row(comparison: Comparison, d: Difference) -> CsvRow:
    boot, level = comparison.boot, comparison.level
    first, second = (boot.interval(e, d.metric.name, level) for e in (d.first, d.second))
    only = d.discordant or (None, None)
    return [
        *("metric", d.first, d.second, d.metric.name, _unit(d.metric), None, None, None, boot.plan.images),
        *(d.a, first.low, first.high, d.b, second.low, second.high, d.value, d.interval.low, d.interval.high),
        *(d.test, d.p, None if math.isnan(d.p_holm) else d.p_holm, d.effect, d.effect_size),
        *(d.verdict(comparison.alpha), only[1], only[0]),
    ]


def _image_row(pair: PairReport, row: ImageRow) -> CsvRow:
    assert pair.by is not None
    where: CsvRow = ["image", pair.first, pair.second, pair.by.name, _unit(pair.by), row.image_id, row.index, row.label]
    return [*where, 1, *_values(row.a, row.b), *[None] * 10]


def _class_row(pair: PairReport, row: ClassRow) -> CsvRow:
    assert pair.by is not None
    where: CsvRow = ["class", pair.first, pair.second, pair.by.name, _unit(pair.by), None, None, row.label]
    return [*where, row.images, *_values(row.a, row.b), *[None] * 8, row.better, row.worse]


def _unit(metric: Metric) -> str:
    # A lone "%" is taken for a formula by some spreadsheets.
    return "percent" if metric.unit == "%" else metric.unit


def _values(a: float, b: float) -> CsvRow:
    return [a, None, None, b, None, None, b - a]
