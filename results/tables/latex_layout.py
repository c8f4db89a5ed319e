"""What fits where in a LaTeX table: widths of columns by their text, and tables cut into parts that fit a page.

No table is scaled. One that is wider than the column takes both columns; one that is wider than those is cut into
tables side by side below each other, each with the names of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from textwrap import wrap

from .grid import Cell, Grid
from .selection import Width

COLUMN_PT, TEXT_PT = 200.0, 410.0
"""Widths of a column and of the text of a two-column ``article``, the narrowest of the usual classes."""
SIZES = (("footnotesize", 8.0), ("scriptsize", 7.0))
"""Sizes that a table may have, in pt of a 10 pt document."""
GAP_PT, WIDEST_GAP_PT, DELTA_PT = 5.0, 10.0, 2.0
"""Space between columns, at least and where there is room, and between a score and its change."""
HEAD_WIDTH = 10
"""Characters of a line of a column's head."""
PAGE_ROWS = 45
"""Rows of a table that fit on a page."""
NUMBER = re.compile(r"[+-]?(\d+)(?:\.(\d+))?")
_ASIDE = re.compile(r"|–|\([+-]?\d+(?:\.\d+)?\)")
"""What may stand in a column of numbers beside them."""
_EM = {
    **dict.fromkeys("0123456789*", 0.57),
    **dict.fromkeys(".,:;'!|iljI ", 0.36),
    **dict.fromkeys("()[]/ft", 0.45),
    **dict.fromkeys("+-−±<>=~≥≤↑↓→", 0.9),
    **dict.fromkeys("mwMWQO%@", 0.98),
}
"""Widths of characters in em of Computer Modern at 7 pt, which is wider than at 8; the others' are the two below."""
WIDE_EM, NARROW_EM = 0.82, 0.57


@dataclass(frozen=True)
class TablePart:
    """A table of its own: its size, whether it takes both columns, whether it goes on with one before."""

    grid: Grid
    size: str
    wide: bool
    again: bool


@dataclass(frozen=True)
class TableColumn:
    """A column of a grid.

    Attributes:
        head: Lines of its head. cells: From the top. name: It names rows. delta: A cell has a change.
        digits: Digits before and behind the point of its numbers; None where it is text.
    """

    head: tuple[str, ...]
    cells: tuple[Cell, ...]
    name: bool
    delta: bool
    digits: tuple[int, int] | None

    @property
    def spec(self) -> str:
        """Its columns of the table, with siunitx."""
        if self.name:
            return "l"
        sign = "-" if any(cell.text[:1] in ("+", "-") for cell in self.cells) else ""
        first = "r" if self.digits is None else f"S[table-format={sign}{self.digits[0]}.{self.digits[1]}]"
        return first + (rf"@{{\hspace{{{DELTA_PT}pt}}}}l" if self.delta else "")

    @property
    def em(self) -> float:
        """Its width in em, but for the spaces between columns."""
        own = max((_em(cell.text, bold=cell.bold) for cell in self.cells), default=0.0)
        if self.digits is not None:
            own = max(own, 0.58 * sum(self.digits) + 0.36 + 0.9 * any(c.text[:1] in "+-" for c in self.cells))
        change = max((_em(f"({cell.delta})") for cell in self.cells if cell.delta), default=0.0)
        return max(own + change, *(_em(line) for line in self.head))


def _em(text: str, *, bold: bool = False) -> float:
    widths = (_EM.get(c, WIDE_EM if c.isupper() or not c.isascii() else NARROW_EM) for c in text)
    return sum(widths) * (1.17 if bold else 1.0)


def table_columns(grid: Grid) -> list[TableColumn]:
    """The columns of a grid, with what their widths depend on."""
    found = []
    for i, head in enumerate(grid.head):
        cells = tuple(row[i] for row in grid.rows)
        numbers = [m for c in cells if (m := NUMBER.fullmatch(c.text))]
        name = i < grid.names
        alike = not name and bool(numbers) and all(NUMBER.fullmatch(c.text) or _ASIDE.fullmatch(c.text) for c in cells)
        digits = (max(len(m[1]) for m in numbers), max(len(m[2] or "") for m in numbers)) if alike else None
        # A name is one line; the direction of a metric stays with the last word of its head.
        bound = re.sub(r" (?=[↑↓‡])", "\u00a0", head)
        lines = wrap(bound, HEAD_WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
        stacked = (head,) if name else tuple(line.replace("\u00a0", " ") for line in lines)
        found.append(TableColumn(stacked, cells, name, any(c.delta for c in cells), digits))
    return found


def columns_width(columns: Sequence[TableColumn], points: float) -> float:
    """Width in pt of columns side by side in type of so many points."""
    inner = sum(c.em * points + DELTA_PT * c.delta for c in columns)
    return inner + GAP_PT * (len(columns) - 1)


def column_gap(grid: Grid, points: float, limit: float) -> float:
    """Space in pt between the columns of a table that may be ``limit`` pt wide, in type of so many points."""
    columns = table_columns(grid)
    room = limit - columns_width(columns, points)
    return min(WIDEST_GAP_PT, GAP_PT + max(0.0, room) / max(1, len(columns) - 1))


def table_parts(whole: Grid, width: Width) -> list[TablePart]:
    """The table in parts that fit on a page."""
    grid = _one_name(whole)
    columns = table_columns(grid)
    name, points = SIZES[-1]
    fits = columns_width(columns, points) <= COLUMN_PT
    wide = width == "text" or (width == "auto" and not fits)
    limit = TEXT_PT if wide else COLUMN_PT
    count = len(_cut(columns, points, limit))
    # As many parts as are needed, and these as alike as they can be.
    bounds = (limit * share / 20 for share in range(1, 21))
    even = next(bound for bound in bounds if len(_cut(columns, points, bound)) <= count)
    found: list[TablePart] = []
    for kept in _cut(columns, points, even):
        size = next((n for n, pt in SIZES if columns_width([columns[k] for k in kept], pt) <= limit), name)
        found += [TablePart(part, size, wide, again=bool(found)) for part in _pages(_only(grid, kept))]
    return [replace(part, again=i > 0) for i, part in enumerate(found)]


def _cut(columns: Sequence[TableColumn], points: float, limit: float) -> list[list[int]]:
    """The columns of each part of a table whose parts are no wider than ``limit``, where a column allows it."""
    names = [i for i, column in enumerate(columns) if column.name]
    chosen = [list(names)]
    for i in range(len(names), len(columns)):
        if len(chosen[-1]) > len(names) and columns_width([columns[k] for k in (*chosen[-1], i)], points) > limit:
            chosen.append(list(names))
        chosen[-1].append(i)
    return chosen


def _one_name(grid: Grid) -> Grid:
    """Method and head as one column, as in the paper: the method's row, and ``+ head`` below it."""
    if grid.names < 2 or grid.head[1] != "Head":
        return grid
    rows = []
    for row in grid.rows:
        method, head = row[:2]
        plain = head.text == "softmax" or head.text.startswith("softmax (")
        label = f"{method.text}{head.text.removeprefix('softmax')}" if plain else f"{method.text}, {head.text}"
        rows.append((Cell(label if method.span else f"+ {head.text}"), *row[2:]))
    over = ((grid.over[0][0], grid.over[0][1] - 1), *grid.over[1:]) if grid.over else ()
    return replace(grid, head=(grid.head[0], *grid.head[2:]), rows=rows, names=grid.names - 1, over=over)


def _only(grid: Grid, kept: Sequence[int]) -> Grid:
    titles = [title for title, columns in grid.over for _ in range(columns)]
    over = tuple((t, len(list(g))) for t, g in groupby(titles[k] for k in kept)) if titles else ()
    rows = [tuple(row[k] for k in kept) for row in grid.rows]
    return replace(grid, head=tuple(grid.head[k] for k in kept), rows=rows, over=over)


def _pages(grid: Grid) -> list[Grid]:
    """The table in parts that fit on a page, cut between groups where it has any."""
    parts, first = [], 0
    while first < len(grid.rows):
        last = min(first + PAGE_ROWS, len(grid.rows))
        if last < len(grid.rows):
            # A cell of several rows stays whole.
            cuts = [i for i in range(first + 1, last + 1) if all(cell.span for cell in grid.rows[i])]
            last = max([i for i in cuts if i in grid.rules] or cuts or [last])
        rules, heavy = (frozenset(i - first for i in r if first <= i < last) for r in (grid.rules, grid.heavy))
        parts.append(replace(grid, rows=grid.rows[first:last], rules=rules, heavy=heavy))
        first = last
    return parts or [grid]
