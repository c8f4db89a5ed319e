"""A table as data, and its renderings as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tabulate import tabulate

from .escape import csv_text, markdown

Tone = Literal["", "good", "bad"]


@dataclass(frozen=True)
class Cell:
    """One cell: text, and how it is shown. ``delta`` follows in parentheses, in the colour of ``tone``.

    ``second``: the second best of its column. ``span``: rows that LaTeX shows as one cell; 0 for a cell that one above
    it covers. Markdown repeats the text.
    """

    text: str
    bold: bool = False
    delta: str = ""
    tone: Tone = ""
    span: int = 1
    second: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of one heading.

    Attributes:
        title: Heading (a backbone, a stage table …), empty where the document's says it.
        code: Registered name beside the title.
        head: Column heads; the first ``names`` columns are text, the others are numbers.
        rows: Rows of as many cells as ``head``. rules: Indices of rows that start a group.
        over: Titles over neighbouring columns, as (title, columns) from the left, empty titles for columns without;
            none where empty, else as many columns as ``head``. Markdown puts them before the heads.
    """

    title: str
    head: tuple[str, ...]
    rows: list[tuple[Cell, ...]]
    code: str = ""
    rules: frozenset[int] = frozenset()
    names: int = 1
    over: tuple[tuple[str, int], ...] = ()
    details: tuple[str, ...] = ()
    """Heads of columns that a narrow terminal leaves out, the first of them first."""
    heavy: frozenset[int] = frozenset()
    """Indices of rows with a heavier rule above them: there the controls begin."""
    notes: tuple[str, ...] = ()
    """What must be said of this table, right below it."""


@dataclass(frozen=True)
class Document:
    """Tables of one subject, and what stands around them in every format.

    Attributes:
        title: Heading. lead: The answer, in sentences before everything else. grids: The tables.
        facts: What holds for all of them. notes: What their marks mean.
        remarks: What the reader must know of the data and the run; a table in a paper does without.
        caption: Of what the numbers are, for captions.
    """

    title: str
    grids: list[Grid]
    facts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    caption: str = ""
    lead: list[str] = field(default_factory=list)

    @property
    def below(self) -> list[str]:
        """Notes and remarks, each once."""
        return list(dict.fromkeys([*self.notes, *self.remarks]))


def to_markdown(document: Document, level: int = 1, *, tables_first: bool = False) -> str:
    """A document as GitHub Markdown; ``level`` is the depth of its heading, ``tables_first`` puts the facts last."""
    blocks = [f"{'#' * level} {markdown(document.title)}"]
    blocks += [markdown(sentence) for sentence in document.lead]
    facts = "\n".join(f"- {markdown(name)}: {markdown(value)}" for name, value in document.facts)
    if facts and not tables_first:
        blocks.append(facts)
    for grid in document.grids:
        code = f" ({markdown(grid.code)})" if grid.code and grid.code != grid.title else ""
        blocks += [f"{'#' * (level + 1)} {markdown(grid.title)}{code}"] if grid.title else []
        aligned = (*("left",) * grid.names, *("right",) * (len(grid.head) - grid.names))
        rows = [[_markdown_cell(cell) for cell in row] for row in grid.rows]
        blocks.append(
            tabulate(
                rows, [markdown(h) for h in _flat_head(grid)], tablefmt="pipe", colalign=aligned, disable_numparse=True
            )
        )
        blocks += [markdown(note) for note in grid.notes]
    if document.below:
        blocks.append("\n".join(f"- {markdown(note)}" for note in document.below))
    if facts and tables_first:
        blocks.append(facts)
    return "\n\n".join(blocks) + "\n"


def to_csv(head: Sequence[str], rows: Iterable[Sequence[str | float | int | None]]) -> str:
    """Rows as CSV; text is guarded against formulas, None is empty, floats have their shortest exact form."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([csv_text(h) for h in head])
    for row in rows:
        writer.writerow([csv_text(v) if isinstance(v, str) else "" if v is None else str(v) for v in row])
    return buffer.getvalue()


def _flat_head(grid: Grid) -> list[str]:
    """Heads with the title over them in front: Markdown has one line of heads."""
    titles = [title for title, columns in grid.over for _ in range(columns)] or [""] * len(grid.head)
    return [f"{title}: {head}" if title else head for title, head in zip(titles, grid.head, strict=True)]


def _markdown_cell(cell: Cell) -> str:
    mark = ("**" if cell.bold else "_" if cell.second else "") if cell.text else ""
    text = f"{mark}{markdown(cell.text)}{mark}"
    return f"{text} ({markdown(cell.delta)})" if cell.delta else text
