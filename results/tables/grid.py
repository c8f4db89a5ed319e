"""A table as data, and its three renderings: Markdown, LaTeX (booktabs), CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from textwrap import wrap
from typing import Literal

import jinja2
from tabulate import tabulate

from .escape import csv_text, latex, markdown

HEAD_WIDTH = 12
"""Characters of a line of a column's head in LaTeX."""
PAGE_ROWS = 45
"""Rows of a table that fit on a page in LaTeX."""
Tone = Literal["", "good", "bad"]


@dataclass(frozen=True)
class Cell:
    """One cell: text, and how it is shown. ``delta`` follows in parentheses, in the colour of ``tone``.

    ``span``: rows that LaTeX shows as one cell; 0 for a cell that one above it covers. Markdown repeats the text.
    """

    text: str
    bold: bool = False
    delta: str = ""
    tone: Tone = ""
    span: int = 1


@dataclass(frozen=True)
class Grid:
    """A table of one heading.

    Attributes:
        title: Heading (a backbone, a stage table …). code: Registered name beside the title.
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

    @property
    def spans(self) -> list[tuple[str, int, int]]:
        """The groups of ``over`` as (title, first, last) column, counted from 1."""
        found, first = [], 1
        for title, columns in self.over:
            found.append((title, first, first + columns - 1))
            first += columns
        return found


@dataclass(frozen=True)
class Document:
    """Tables of one subject, the facts that hold for all of them, and footnotes."""

    title: str
    grids: list[Grid]
    facts: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def to_markdown(document: Document, level: int = 1) -> str:
    """A document as GitHub Markdown; ``level`` is the depth of its heading."""
    blocks = [f"{'#' * level} {markdown(document.title)}"]
    if document.facts:
        blocks.append("\n".join(f"- {markdown(name)}: {markdown(value)}" for name, value in document.facts))
    for grid in document.grids:
        code = f" ({markdown(grid.code)})" if grid.code and grid.code != grid.title else ""
        blocks.append(f"{'#' * (level + 1)} {markdown(grid.title)}{code}")
        aligned = (*("left",) * grid.names, *("right",) * (len(grid.head) - grid.names))
        rows = [[_markdown_cell(cell) for cell in row] for row in grid.rows]
        blocks.append(
            tabulate(
                rows, [markdown(h) for h in _flat_head(grid)], tablefmt="pipe", colalign=aligned, disable_numparse=True
            )
        )
    if document.notes:
        blocks.append("\n".join(f"- {markdown(note)}" for note in document.notes))
    return "\n\n".join(blocks) + "\n"


def to_latex(document: Document) -> str:
    """A document as a LaTeX fragment: kernel commands, with booktabs rules and xcolor colours where they are loaded."""
    return _template("document.tex.j2").render(document=document)


def to_latex_document(documents: Iterable[Document]) -> str:
    """Fragments as one file that compiles as it is, and that another document may ``\\input`` as well."""
    return _template("leaderboard.tex.j2").render(documents=list(documents))


def to_csv(head: Sequence[str], rows: Iterable[Sequence[str | float | int | None]]) -> str:
    """Rows as CSV; text is guarded against formulas, None is empty, floats have their shortest exact form."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([csv_text(h) for h in head])
    for row in rows:
        writer.writerow([csv_text(v) if isinstance(v, str) else "" if v is None else repr(v) for v in row])
    return buffer.getvalue()


def _flat_head(grid: Grid) -> list[str]:
    """Heads with the title over them in front: Markdown has one line of heads."""
    titles = [title for title, columns in grid.over for _ in range(columns)] or [""] * len(grid.head)
    return [f"{title}: {head}" if title else head for title, head in zip(titles, grid.head, strict=True)]


def _markdown_cell(cell: Cell) -> str:
    text = f"**{markdown(cell.text)}**" if cell.bold and cell.text else markdown(cell.text)
    return f"{text} ({markdown(cell.delta)})" if cell.delta else text


def _latex_head(text: str) -> str:
    """A column head, stacked where it is long: a wide head would shrink the whole table to the page."""
    # The direction stays with the last word.
    bound = re.sub(r" (?=[↑↓]$)", "\u00a0", text)
    lines = [
        latex(line.replace("\u00a0", " "))
        for line in wrap(bound, HEAD_WIDTH, break_long_words=False, break_on_hyphens=False)
    ]
    stacked = r"\\".join(lines)
    return rf"\shortstack[r]{{{stacked}}}" if len(lines) > 1 else stacked


def _latex_parts(grid: Grid) -> list[Grid]:
    """The table in parts that fit on a page, cut between groups where it has any."""
    parts, first = [], 0
    while first < len(grid.rows):
        last = min(first + PAGE_ROWS, len(grid.rows))
        if last < len(grid.rows):
            # A cell of several rows stays whole.
            cuts = [i for i in range(first + 1, last + 1) if all(cell.span for cell in grid.rows[i])]
            last = max([i for i in cuts if i in grid.rules] or cuts or [last])
        rules = frozenset(i - first for i in grid.rules if first <= i < last)
        title = grid.title if not first else f"{grid.title} (continued)"
        parts.append(replace(grid, title=title, rows=grid.rows[first:last], rules=rules))
        first = last
    return parts or [grid]


def _latex_cell(cell: Cell) -> str:
    if not cell.span:
        return ""
    content = _latex_content(cell)
    return content if cell.span == 1 else rf"\multirow{{{cell.span}}}{{*}}{{{content}}}"


def _latex_content(cell: Cell) -> str:
    # A minus sign, not a hyphen, before a number.
    plain = latex(re.sub(r"(?<![\w.-])-(?=\d)", "−", cell.text))
    text = rf"\textbf{{{plain}}}" if cell.bold else plain
    if not cell.delta:
        return text
    sign = {"+": "$+$", "-": "$-$"}.get(cell.delta[0], "")
    delta = f"({sign}{latex(cell.delta.lstrip('+-'))})"
    colour = {"good": "blue", "bad": "red"}.get(cell.tone)
    return rf"{text} \textcolor{{{colour}}}{{{delta}}}" if colour else f"{text} {delta}"


@cache
def _environment() -> jinja2.Environment:
    folder = files(__package__) / "templates"
    # Braces are TeX's own; every value is escaped by the filters, not by HTML rules.
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (folder / name).read_text(encoding="utf-8")),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,
    )
    environment.filters.update(latex=latex, latex_cell=_latex_cell, latex_head=_latex_head, latex_parts=_latex_parts)
    return environment


def _template(name: str) -> jinja2.Template:
    return _environment().get_template(name)
