"""Tables as LaTeX floats for a two-column article: type of 7 pt or more, numbers aligned, booktabs rules.

No table is scaled. One that is wider than the column takes both columns; one that is wider than those is cut into
tables side by side below each other, each with the names of the rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from textwrap import wrap

from .escape import latex
from .grid import Cell, Document, Grid
from .selection import Width

COLUMN_PT, TEXT_PT = 200.0, 410.0
"""Widths of a column and of the text of a two-column ``article``, the narrowest of the usual classes."""
SIZES = (("footnotesize", 8.0), ("scriptsize", 7.0))
"""Sizes that a table may have, in pt of a 10 pt document."""
GAP_PT, DELTA_PT = 5.0, 2.0
"""Space between columns, and between a score and its change."""
CAPTION_PT = 4.0
"""Space between a caption and its table."""
HEAD_WIDTH = 10
"""Characters of a line of a column's head."""
PAGE_ROWS = 45
"""Rows of a table that fit on a page."""
NOTED_ROWS = 40
"""Rows of a table below which its notes still fit on the page."""
_NUMBER = re.compile(r"[+-]?(\d+)(?:\.(\d+))?")
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
_WIDE, _NARROW = 0.82, 0.57
PACKAGES = ("booktabs", "siunitx", "xcolor")
_PREAMBLE = r"""\providecommand{\toprule}{\hline}
\providecommand{\midrule}{\hline}
\providecommand{\bottomrule}{\hline}
\ifdefined\heavyrulewidth\def\cambenchrule{\midrule[\heavyrulewidth]}\else\def\cambenchrule{\hline}\fi
\providecommand{\textcolor}[2]{#2}
\ifdefined\cmidrule\else\def\cmidrule(#1)#2{\cline{#2}}\fi
"""
_DOCUMENT = r"""% Compiles as it is; may also be \input into a document (booktabs, siunitx and xcolor are used where
% it loads them).
\expandafter\ifx\csname @notprerr\endcsname\documentclass
  \def\cambenchend{}
\else
  \def\cambenchend{\end{document}}
  \documentclass[a4paper,10pt%s]{article}
  \usepackage[utf8]{inputenc}
  \usepackage[margin=20mm]{geometry}
  \usepackage{booktabs}
  \usepackage{siunitx}
  \usepackage{xcolor}
  \pagestyle{plain}
  \setcounter{topnumber}{9}\setcounter{dbltopnumber}{9}\setcounter{totalnumber}{9}
  \renewcommand{\topfraction}{1}\renewcommand{\dbltopfraction}{1}\renewcommand{\textfraction}{0}
  \begin{document}
\fi
"""


def to_latex(document: Document, width: Width = "auto") -> str:
    """A document as floats to ``\\input``: facts and remarks are comments, the notes stand below the last table.

    Args:
        document: Tables and what stands around them.
        width: ``column``: no table is wider than a column; ``text``: all may take both; ``auto``: what each needs.
    """
    about = document.lead + [f"{name}: {value}" for name, value in document.facts] + document.remarks
    used = ", ".join(rf"\usepackage{{{name}}}" for name in PACKAGES)
    lines = [rf"% Used where the document loads them: {used}.", *(f"% {latex(line)}" for line in about)]
    return "\n".join([*lines, _PREAMBLE + _floats(document, width)])


def to_latex_document(documents: Iterable[Document], width: Width = "auto") -> str:
    """Documents as one file that compiles as it is, and that another document may ``\\input`` as well."""
    listed = list(documents)
    # In two columns a table of both would leave the page of its text, and that page nearly empty.
    wide = any(part.wide for document in listed for grid in document.grids for part in _parts(grid, width))
    parts = []
    for document in listed:
        facts = [f"{name}: {value}" for name, value in document.facts]
        parts.append(rf"\par\bigskip\noindent\textbf{{{latex(document.title)}}}\par" + "\n")
        parts += [
            _text(document.lead),
            _text(facts),
            _floats(document, width, "!htbp"),
            _text(document.remarks),
            "\\clearpage\n",
        ]
    begin = _DOCUMENT.replace("%s", "" if wide else ",twocolumn")
    return "".join([begin, _PREAMBLE, *parts, "\\cambenchend\n"])


def _text(lines: Sequence[str]) -> str:
    if not lines:
        return ""
    # A digest is one long word.
    broken = (re.sub(r"[0-9a-f]{16}(?=[0-9a-f])", r"\g<0>\\allowbreak{}", latex(line)) for line in lines)
    body = "\n".join(rf"\noindent {line}\par" for line in broken)
    return f"\\par\\smallskip{{\\footnotesize\\raggedright\n{body}\n}}\n"


def _floats(document: Document, width: Width, place: str = "tp") -> str:
    tables = [part for grid in document.grids for part in _parts(grid, width)]
    notes = _text(document.notes)
    within = bool(tables) and len(tables[-1].grid.rows) + 2 * len(document.notes) <= NOTED_ROWS
    last = len(tables) - 1
    floats = (_float(document, part, notes if within and i == last else "", i) for i, part in enumerate(tables))
    return "".join(text.replace("[tp]", f"[{place}]", 1) for text in floats) + ("" if within else notes)


def _float(document: Document, part: _Part, notes: str, number: int) -> str:
    grid, size, wide, again = part.grid, part.size, part.wide, part.again
    name = "table*" if wide else "table"
    code = f" ({grid.code})" if grid.code and grid.code != grid.title else ""
    about = f"{grid.title}{code}{' (continued)' if again else ''}"
    caption = ". ".join(filter(None, (about, document.title, document.caption))) + "."
    label = "-".join(filter(None, (_slug(document.title), _slug(grid.code), str(number + 1))))
    return "\n".join(
        [
            rf"\begin{{{name}}}[tp]",
            rf"\setlength{{\abovecaptionskip}}{{0pt}}\setlength{{\belowcaptionskip}}{{{CAPTION_PT}pt}}",
            rf"\centering\{size}\setlength{{\tabcolsep}}{{{GAP_PT / 2}pt}}",
            rf"\caption{{{latex(caption)}}}\label{{tab:{label}}}",
            _tabular(grid, dict(SIZES)[size], TEXT_PT if wide else COLUMN_PT),
            _text([] if again else grid.notes) + notes + rf"\end{{{name}}}",
            "",
        ]
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


@dataclass(frozen=True)
class _Part:
    """A table of its own: its size, whether it takes both columns, whether it goes on with one before."""

    grid: Grid
    size: str
    wide: bool
    again: bool


@dataclass(frozen=True)
class _Column:
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
    widths = (_EM.get(c, _WIDE if c.isupper() or not c.isascii() else _NARROW) for c in text)
    return sum(widths) * (1.17 if bold else 1.0)


def _columns(grid: Grid) -> list[_Column]:
    found = []
    for i, head in enumerate(grid.head):
        cells = tuple(row[i] for row in grid.rows)
        numbers = [m for c in cells if (m := _NUMBER.fullmatch(c.text))]
        name = i < grid.names
        alike = not name and bool(numbers) and all(_NUMBER.fullmatch(c.text) or _ASIDE.fullmatch(c.text) for c in cells)
        digits = (max(len(m[1]) for m in numbers), max(len(m[2] or "") for m in numbers)) if alike else None
        # A name is one line; the direction of a metric stays with the last word of its head.
        bound = re.sub(r" (?=[↑↓‡])", "\u00a0", head)
        lines = wrap(bound, HEAD_WIDTH, break_long_words=False, break_on_hyphens=False) or [""]
        stacked = (head,) if name else tuple(line.replace("\u00a0", " ") for line in lines)
        found.append(_Column(stacked, cells, name, any(c.delta for c in cells), digits))
    return found


def _width(columns: Sequence[_Column], points: float) -> float:
    inner = sum(c.em * points + DELTA_PT * c.delta for c in columns)
    return inner + GAP_PT * (len(columns) - 1)


def _parts(whole: Grid, width: Width) -> list[_Part]:
    """The table in parts that fit on a page."""
    grid = _one_name(whole)
    columns = _columns(grid)
    name, points = SIZES[-1]
    fits = _width(columns, points) <= COLUMN_PT
    wide = width == "text" or (width == "auto" and not fits)
    limit = TEXT_PT if wide else COLUMN_PT
    count = len(_cut(columns, points, limit))
    # As many parts as are needed, and these as alike as they can be.
    bounds = (limit * share / 20 for share in range(1, 21))
    even = next(bound for bound in bounds if len(_cut(columns, points, bound)) <= count)
    found: list[_Part] = []
    for kept in _cut(columns, points, even):
        size = next((n for n, pt in SIZES if _width([columns[k] for k in kept], pt) <= limit), name)
        found += [_Part(part, size, wide, again=bool(found)) for part in _pages(_only(grid, kept))]
    return [replace(part, again=i > 0) for i, part in enumerate(found)]


def _cut(columns: Sequence[_Column], points: float, limit: float) -> list[list[int]]:
    """The columns of each part of a table whose parts are no wider than ``limit``, where a column allows it."""
    names = [i for i, column in enumerate(columns) if column.name]
    chosen = [list(names)]
    for i in range(len(names), len(columns)):
        if len(chosen[-1]) > len(names) and _width([columns[k] for k in (*chosen[-1], i)], points) > limit:
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


def _tabular(grid: Grid, points: float, limit: float) -> str:
    columns = _columns(grid)
    specs = [c.spec for c in columns]
    over = _width(columns, points) - limit
    # Numbers beside long names: the names take several lines, the longest first.
    for i in sorted((i for i, c in enumerate(columns) if c.name), key=lambda i: -columns[i].em):
        if over > 0:
            kept = max(columns[i].em * points - over, limit / 5)
            specs[i] = rf"p{{{kept:.0f}pt}}"
            over -= columns[i].em * points - kept
    spec = "@{}" + "".join(specs) + "@{}"
    plain = re.sub(r"S\[[^\]]*\]", "r", spec)
    lines = [
        rf"\ifdefined\tablenum\def\cambenchcolumns{{{spec}}}\else\def\cambenchcolumns{{{plain}}}\fi",
        r"\expandafter\tabular\expandafter{\cambenchcolumns}",
        r"\toprule",
        *_over(grid, columns),
        " & ".join(_head(c) for c in columns) + r" \\",
        r"\midrule",
    ]
    for r, row in enumerate(grid.rows):
        if r and r in grid.heavy:
            lines.append(r"\cambenchrule")
        elif r and r in grid.rules:
            lines.append(r"\midrule")
        lines.append(" & ".join(_cell(column, row[i]) for i, column in enumerate(columns)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\endtabular"])


def _over(grid: Grid, columns: Sequence[_Column]) -> list[str]:
    """The titles over neighbouring columns, with a rule below each."""
    if not grid.over:
        return []
    cells, rules, first, at = [], [], 0, 1
    for title, count in grid.over:
        spanned = sum(1 + c.delta for c in columns[first : first + count])
        # A title wider than its columns would widen the table.
        room = max(HEAD_WIDTH, int(sum(c.em for c in columns[first : first + count]) / _NARROW))
        text = r"\\".join(latex(line) for line in wrap(title, room, break_on_hyphens=False))
        text = rf"\shortstack{{{text}}}" if r"\\" in text else text
        cells.append(rf"\multicolumn{{{spanned}}}{{c}}{{{text}}}")
        if title:
            rules.append(rf"\cmidrule(lr){{{at}-{at + spanned - 1}}}")
        first, at = first + count, at + spanned
    return [" & ".join(cells) + r" \\", "".join(rules)]


def _head(column: _Column) -> str:
    text = r"\\".join(latex(line) for line in column.head)
    if len(column.head) > 1:
        text = rf"\shortstack[c]{{{text}}}"
    return text if column.name else rf"\multicolumn{{{1 + column.delta}}}{{c}}{{{text}}}"


def _cell(column: _Column, cell: Cell) -> str:
    # A cell of several rows stands in the first of them.
    text = _content(column, cell) if cell.span else ""
    return f"{text} & {_change(cell)}" if column.delta else text


def _content(column: _Column, cell: Cell) -> str:
    # A minus sign, not a hyphen, before a number.
    plain = latex(re.sub(r"(?<![\w.-])-(?=\d)", "−", cell.text))
    marked = rf"\textbf{{{plain}}}" if cell.bold else rf"\underline{{{plain}}}" if cell.second else plain
    tone = {"good": "blue", "bad": "red"}.get(cell.tone, "") if not cell.delta else ""
    marked = rf"\textcolor{{{tone}}}{{{marked}}}" if tone else marked
    found = _NUMBER.fullmatch(cell.text) if column.digits is not None else None
    if column.digits is None:
        return marked
    if found is None:
        return f"{{{marked}}}" if marked else ""
    if marked == plain and cell.text[:1] != "+":
        return cell.text
    # siunitx aligns no number with marks around it: spaces as wide as the missing digits do.
    whole, behind = column.digits
    left = "0" * (whole - len(found[1]))
    missing = behind - len(found[2] or "")
    right = ("." if behind and not found[2] else "") + "0" * missing
    pads = [rf"\phantom{{{pad}}}" if pad else "" for pad in (left, right)]
    return f"{{{pads[0]}{marked}{pads[1]}}}"


def _change(cell: Cell) -> str:
    if not cell.delta:
        return ""
    sign = {"+": "$+$", "-": "$-$"}.get(cell.delta[0], "")
    delta = f"({sign}{latex(cell.delta.lstrip('+-'))})"
    colour = {"good": "blue", "bad": "red"}.get(cell.tone)
    return rf"\textcolor{{{colour}}}{{{delta}}}" if colour else delta
