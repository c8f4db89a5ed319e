"""A comparison as Markdown, CSV, and tables in the terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...text import visible
from ..scores.shown import Metric
from ..statistics.comparison import WHOLE_RUN, Comparison, PairReport
from ..statistics.image_lists import ClassRow, ImageRow
from ..statistics.intervals import few_images
from ..statistics.paired import Difference
from ..statistics.transfer import Transfer
from .compare_words import answers, pair_names, unbeaten_sentences, unmarked_intervals
from .grid import Cell, Document, Grid, Tone, to_csv
from .notes import UNBEATEN_MARK
from .transfer_table import TRANSFER_NOTE, CsvRow, transfer_grids

WORD = 12
"""Columns of a terminal for a word of a name that is kept in one piece."""
CLASSES = 10
"""Classes of a printed table; the CSV has all."""
MARKS = {"better": "▲ better", "worse": "▼ worse", "": "≈"}
TONES: dict[str, Tone] = {"better": "good", "worse": "bad", "": ""}
STYLES = {"good": "green", "bad": "red", "": ""}
CSV_HEAD = [
    *("kind", "first", "second", "metric", "unit", "name", "index", "class", "images", "a", "a_low", "a_high"),
    *("b", "b_low", "b_high", "difference", "difference_low", "difference_high", "test", "p", "p_holm"),
    *("effect", "effect_size", "verdict", "better", "worse", "tau"),
]


def compare_document(comparison: Comparison, *, classes: int = CLASSES, brief: bool = False) -> Document:
    """The answer in a sentence a pair; differences, images and classes of every pair, with what they rest on.

    Args:
        comparison: From ``compare``. classes: Classes of a table.
        brief: The sentences alone, and what limits them.
    """
    lead = [*answers(comparison), *unbeaten_sentences(comparison)]
    if brief:
        return Document("Comparison", [], [], _said(comparison), lead=lead)
    grids = [grid for pair in comparison.pairs if not pair.same for grid in _grids(comparison, pair, classes)]
    grids += transfer_grids(comparison.transfers)
    return Document("Comparison", grids, _facts(comparison), _notes(comparison), lead=lead)


def compare_csv(comparison: Comparison) -> str:
    """Everything as one CSV, unrounded: rows of kind ``metric``, ``image`` and ``class``.

    Where val runs are given, also ``transfer``: ``first`` at a ``fixed`` or ``val`` threshold (``name``, ``tau``) as a,
    at the oracle's as b.
    """
    rows: list[CsvRow] = []
    for pair in comparison.pairs:
        rows += [_metric_row(comparison, d) for d in pair.differences]
        rows += [_image_row(pair, row) for row in (*pair.gains, *pair.losses)]
        rows += [_class_row(pair, row) for row in pair.classes]
    rows += [row for t in comparison.transfers for row in _transfer_rows(t, comparison.boot.plan.images)]
    return to_csv(CSV_HEAD, rows)


def print_document(document: Document, console: Console) -> None:
    """A document in the terminal: facts, tables, notes; any text as text.

    A narrow terminal wraps names and leaves the columns ``Grid.details`` out; it says so and cuts no number.
    """
    for sentence in document.lead:
        console.print(Text(visible(sentence)), soft_wrap=True)
    if document.lead and document.grids:
        console.print()
    for name, value in document.facts:
        console.print(Text(f"{name}: {visible(value)}"), soft_wrap=True)
    for grid in document.grids:
        console.print()
        console.print(Text(visible(grid.title), style="bold"), soft_wrap=True)
        table, hidden = _fitted(grid, console)
        console.print(table, soft_wrap=table.width is not None)
        if hidden:
            console.print(
                Text(f"Not shown in {console.width} columns: {', '.join(h for h in grid.head if h in hidden)}")
            )
        for note in grid.notes:
            console.print(Text(visible(note)), soft_wrap=True)
    for note in document.below:
        console.print(Text(visible(note)), soft_wrap=True)


def _fitted(grid: Grid, console: Console) -> tuple[Table, Collection[str]]:
    """The table with as many columns as fit, and those that are left out."""
    for count in range(len(grid.details) + 1):
        hidden = grid.details[:count]
        for gap in (1, 0):
            table = _table(grid, hidden, gap)
            # Beside the columns: their gaps, and a space around each.
            least = sum(c.min_width or 0 for c in table.columns) + (gap + 1) * len(table.columns) + 1
            if least <= console.width:
                return table, hidden
    # The terminal breaks the lines itself: no name and no number is lost.
    table.width = least
    return table, hidden


def _table(grid: Grid, hidden: Collection[str], gap: int) -> Table:
    table = Table(header_style="bold", box=SIMPLE_HEAD, padding=(0, gap, 0, 0))
    shown = [i for i, head in enumerate(grid.head) if head not in hidden]
    rows = [[_text(row[i], numbers=i >= grid.names) for i in shown] for row in grid.rows]
    for k, i in enumerate(shown):
        numbers = i >= grid.names
        # An interval has a space inside: without its width as the least one, it would count as two words and be cut.
        # A name wraps between its words; only a very long word is folded.
        lines = [line for row in rows for line in (row[k].plain.split("\n") if numbers else row[k].plain.split())]
        head = visible(grid.head[i])
        least = max(map(cell_len, [*lines, *([head] if numbers else head.split())]), default=0)
        table.add_column(
            Text(head),
            justify="right" if numbers else "left",
            overflow="fold",
            no_wrap=numbers,
            min_width=least if numbers else min(least, WORD),
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
    notes = _said(comparison)
    family = len(comparison.tested)
    if family:
        notes.append(
            f"Differences are the second minus the first. ▲ ▼: significant at {comparison.alpha:g} after Holm's "
            f"correction over {family} test(s){_asked(comparison)}; ≈: not significant. Effects are sized in words "
            "(small, medium, large) only where they are significant."
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
    return notes + ([TRANSFER_NOTE] if comparison.transfers else [])


def _said(comparison: Comparison) -> list[str]:
    """What the comparison noted and its sentences do not say already."""
    said = set() if WHOLE_RUN in comparison.notes else {pair.same for pair in comparison.pairs}
    return [note for note in comparison.notes if note not in said] + few_images(comparison.boot.plan.images)


def _asked(comparison: Comparison) -> str:
    """Which tests the correction is over."""
    if not comparison.primary:
        return " of this table"
    titles = [m.title for m in comparison.boot.metrics if m.name in comparison.primary]
    return f" of what was asked ({', '.join(titles)}); the other metrics are not tested"


def _grids(comparison: Comparison, pair: PairReport, classes: int) -> list[Grid]:
    title = f"{pair.second} against {pair.first}"
    first, second = pair_names(comparison, pair)
    head = ("Metric", first, second, "difference", "p", "p (Holm)", "test", "effect", "")
    rows = [_difference_cells(comparison, d, unbeaten=d.metric.name in pair.unbeaten) for d in pair.differences]
    notes = unmarked_intervals(pair, len(comparison.tested), comparison.alpha)
    grids = [Grid(title, head, rows, details=("test", "p", "effect"), notes=tuple(notes))]
    if pair.by is None:
        return grids
    unit = f"{pair.by.title} {pair.by.arrow}" + (f" ({title})" if len(comparison.pairs) > 1 else "")
    image_head = ("Image", "class", first, second, "difference")
    for what, found in (("gains", pair.gains), ("loses", pair.losses)):
        if found:
            cells = [_image_cells(row, pair.by.digits) for row in found]
            grids.append(Grid(f"Images on which {second} {what} most: {unit}", image_head, cells, names=2))
    shown = pair.classes[:classes]
    if shown:
        rest = len(pair.classes) - len(shown)
        more = f" (largest differences; {rest} more in the CSV)" if rest else ""
        class_head = ("Class", "images", first, second, "difference", "better on", "worse on")
        grids.append(Grid(f"By class: {unit}{more}", class_head, [_class_cells(r, pair.by.digits) for r in shown]))
    return grids


def _difference_cells(comparison: Comparison, d: Difference, *, unbeaten: bool) -> tuple[Cell, ...]:
    digits = d.metric.digits
    boot, verdict = comparison.boot, d.verdict(comparison.alpha)
    a, b = (boot.interval(e, d.metric.name, comparison.level).text(digits) for e in (d.first, d.second))
    test = d.test if d.discordant is None else f"{d.test} {d.discordant[0]} : {d.discordant[1]}"
    tested = not math.isnan(d.p_holm)
    mark = "identical" if d.identical else MARKS[verdict] if tested else "not tested"
    return (
        Cell(f"{d.metric.title} {d.metric.arrow}{f' {UNBEATEN_MARK}' if unbeaten else ''}"),
        Cell(f"{d.a:.{digits}f} {a}"),
        Cell(f"{d.b:.{digits}f} {b}"),
        Cell(f"{d.value:+.{digits}f} {d.interval.text(digits)}", bold=bool(verdict), tone=TONES[verdict]),
        Cell(p_text(d.p)),
        Cell(p_text(d.p_holm) if tested else "–"),
        Cell(test),
        Cell(d.effect_size if verdict else d.effect_size.partition(" (")[0]),
        Cell(mark, tone=TONES[verdict]),
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
        *(d.verdict(comparison.alpha), only[1], only[0], None),
    ]


def _image_row(pair: PairReport, row: ImageRow) -> CsvRow:
    assert pair.by is not None
    where: CsvRow = ["image", pair.first, pair.second, pair.by.name, _unit(pair.by), row.image_id, row.index, row.label]
    return [*where, 1, *_values(row.a, row.b), *[None] * 11]


def _class_row(pair: PairReport, row: ClassRow) -> CsvRow:
    assert pair.by is not None
    where: CsvRow = ["class", pair.first, pair.second, pair.by.name, _unit(pair.by), None, None, row.label]
    return [*where, row.images, *_values(row.a, row.b), *[None] * 8, row.better, row.worse, None]


def _transfer_rows(transfer: Transfer, images: int) -> Iterable[CsvRow]:
    for name, choice in (("fixed", transfer.fixed), ("val", transfer.val)):
        if choice is None or choice.gap_interval is None:
            continue
        yield [
            *("transfer", transfer.entry, None, transfer.metric.name, _unit(transfer.metric), name, None, None, images),
            *(choice.score, None, None, transfer.oracle.score, None, None),
            *(choice.gap, choice.gap_interval.low, choice.gap_interval.high),
            *([None] * 8),
            choice.tau,
        ]


def _unit(metric: Metric) -> str:
    # A lone "%" is taken for a formula by some spreadsheets.
    return "percent" if metric.unit == "%" else metric.unit


def _values(a: float, b: float) -> CsvRow:
    return [a, None, None, b, None, None, b - a]
