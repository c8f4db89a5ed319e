"""Tables as LaTeX floats for a two-column article: type of 7 pt or more, numbers aligned, booktabs rules.

Which columns and rows a table has is decided in ``latex_layout``; this file writes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from math import ceil
from textwrap import wrap

from .escape import latex
from .grid import Cell, Document, Grid
from .latex_layout import (
    COLUMN_PT,
    HEAD_WIDTH,
    NARROW_EM,
    NUMBER,
    SIZES,
    TEXT_PT,
    TableColumn,
    TablePart,
    column_gap,
    columns_width,
    table_columns,
    table_parts,
)
from .selection import Width

CAPTION_PT = 4.0
"""Space between a caption and its table."""
NOTED_LINES = 50
"""Rows of a table and lines of its notes that fit on a page together."""
NOTE_EM = 0.5
"""Mean width of a character of a note, in em."""
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
    wide = any(part.wide for document in listed for grid in document.grids for part in table_parts(grid, width))
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
    tables = [part for grid in document.grids for part in table_parts(grid, width)]
    notes = _text(document.notes)
    within = bool(tables) and len(tables[-1].grid.rows) + _lines(document.notes, tables[-1].wide) <= NOTED_LINES
    last = len(tables) - 1
    floats = (_float(document, part, notes if within and i == last else "", i) for i, part in enumerate(tables))
    return "".join(text.replace("[tp]", f"[{place}]", 1) for text in floats) + ("" if within else notes)


def _lines(notes: Sequence[str], wide: bool) -> int:
    """Lines that notes take below a table of one column or of both."""
    room = (TEXT_PT if wide else COLUMN_PT) / (NOTE_EM * dict(SIZES)["footnotesize"])
    return sum(ceil(len(note) / room) for note in notes)


def _float(document: Document, part: TablePart, notes: str, number: int) -> str:
    grid, size, wide, again = part.grid, part.size, part.wide, part.again
    points, limit = dict(SIZES)[size], TEXT_PT if wide else COLUMN_PT
    name = "table*" if wide else "table"
    code = f" ({grid.code})" if grid.code and grid.code != grid.title else ""
    about = f"{grid.title}{code}{' (continued)' if again else ''}"
    caption = ". ".join(filter(None, (about, document.title, document.caption))) + "."
    label = "-".join(filter(None, (_slug(document.title), _slug(grid.code), str(number + 1))))
    return "\n".join(
        [
            rf"\begin{{{name}}}[tp]",
            rf"\setlength{{\abovecaptionskip}}{{0pt}}\setlength{{\belowcaptionskip}}{{{CAPTION_PT}pt}}",
            rf"\centering\{size}\setlength{{\tabcolsep}}{{{column_gap(grid, points, limit) / 2:.1f}pt}}",
            rf"\caption{{{latex(caption)}}}\label{{tab:{label}}}",
            _tabular(grid, points, limit),
            _text([] if again else grid.notes) + notes + rf"\end{{{name}}}",
            "",
        ]
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _tabular(grid: Grid, points: float, limit: float) -> str:
    columns = table_columns(grid)
    specs = [c.spec for c in columns]
    over = columns_width(columns, points) - limit
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


def _over(grid: Grid, columns: Sequence[TableColumn]) -> list[str]:
    """The titles over neighbouring columns, with a rule below each."""
    if not grid.over:
        return []
    cells, rules, first, at = [], [], 0, 1
    for title, count in grid.over:
        spanned = sum(1 + c.delta for c in columns[first : first + count])
        # A title wider than its columns would widen the table.
        room = max(HEAD_WIDTH, int(sum(c.em for c in columns[first : first + count]) / NARROW_EM))
        text = r"\\".join(latex(line) for line in wrap(title, room, break_on_hyphens=False))
        text = rf"\shortstack{{{text}}}" if r"\\" in text else text
        cells.append(rf"\multicolumn{{{spanned}}}{{c}}{{{text}}}")
        if title:
            rules.append(rf"\cmidrule(lr){{{at}-{at + spanned - 1}}}")
        first, at = first + count, at + spanned
    return [" & ".join(cells) + r" \\", "".join(rules)]


def _head(column: TableColumn) -> str:
    text = r"\\".join(latex(line) for line in column.head)
    if len(column.head) > 1:
        text = rf"\shortstack[c]{{{text}}}"
    return text if column.name else rf"\multicolumn{{{1 + column.delta}}}{{c}}{{{text}}}"


def _cell(column: TableColumn, cell: Cell) -> str:
    # A cell of several rows stands in the first of them.
    text = _content(column, cell) if cell.span else ""
    return f"{text} & {_change(cell)}" if column.delta else text


def _content(column: TableColumn, cell: Cell) -> str:
    # A minus sign, not a hyphen, before a number.
    plain = latex(re.sub(r"(?<![\w.-])-(?=\d)", "−", cell.text))
    marked = rf"\textbf{{{plain}}}" if cell.bold else rf"\underline{{{plain}}}" if cell.second else plain
    tone = {"good": "blue", "bad": "red"}.get(cell.tone, "") if not cell.delta else ""
    marked = rf"\textcolor{{{tone}}}{{{marked}}}" if tone else marked
    found = NUMBER.fullmatch(cell.text) if column.digits is not None else None
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
