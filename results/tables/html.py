"""Tables as HTML for notebooks; any text as text."""

from __future__ import annotations

from html import escape

from ...text import visible
from .grid import Cell, Document, Grid

HEAVY = ' style="border-top:2px solid"'
TONES = {"good": "color:#2f6fdb", "bad": "color:#d1432b", "": ""}
"""Blue and red, as in LaTeX, that people with the common colour deficiencies tell apart, on light and on dark pages."""
TABLE = ' style="border-collapse:collapse"'
"""Without it a page that has no style of its own draws no rule."""
CAPTION = ' style="text-align:left;font-weight:bold;padding-top:.6em"'


def to_html(document: Document) -> str:
    """A document as an HTML fragment without scripts or outside references; what it is of stands below the tables."""
    facts = "".join(f"<li>{_text(name)}: {_text(value)}</li>" for name, value in document.facts)
    notes = "".join(f"<li>{_text(note)}</li>" for note in document.below)
    lead = "".join(f"<p>{_text(sentence)}</p>" for sentence in document.lead)
    grids = "".join(_table(grid) + "".join(f"<p>{_text(note)}</p>" for note in grid.notes) for grid in document.grids)
    lists = "".join(_folded(*part) for part in (("What the marks mean", notes), ("Data, protocol and versions", facts)))
    return f'<div class="cambench"><h3>{_text(document.title)}</h3>{lead}{grids}{lists}</div>'


def _folded(title: str, items: str) -> str:
    if not items:
        return ""
    return f'<details><summary>{title}</summary><ul style="overflow-wrap:anywhere">{items}</ul></details>'


def _table(grid: Grid) -> str:
    over = "".join(f'<th colspan="{columns}">{_text(title)}</th>' for title, columns in grid.over)
    heads = "".join(f'<th scope="col">{_text(head)}</th>' for head in grid.head)
    rows = "".join(_row(row, grid.names, HEAVY if r in grid.heavy else "") for r, row in enumerate(grid.rows))
    head = (f"<tr>{over}</tr>" if over else "") + f"<tr>{heads}</tr>"
    title = f"<caption{CAPTION}>{_text(grid.title)}</caption>"
    table = f"<table{TABLE}>{title}<thead>{head}</thead><tbody>{rows}</tbody></table>"
    return f'<div style="overflow-x:auto">{table}</div>'


def _row(row: tuple[Cell, ...], names: int, style: str) -> str:
    return f"<tr{style}>" + "".join(_cell(cell, number=i >= names) for i, cell in enumerate(row)) + "</tr>"


def _cell(cell: Cell, *, number: bool) -> str:
    tag = "b" if cell.bold else "u" if cell.second else ""
    text = f"<{tag}>{_text(cell.text)}</{tag}>" if tag else _text(cell.text)
    if cell.delta:
        text += f' <span style="{TONES[cell.tone]}">({_text(cell.delta)})</span>'
    style = "text-align:right" if number else "text-align:left"
    # An interval stays on a line.
    if number and "[" in cell.text:
        style += ";white-space:nowrap"
    if cell.tone and not cell.delta:
        style += f";{TONES[cell.tone]}"
    return f'<td style="{style}">{text}</td>'


def _text(text: str) -> str:
    return escape(visible(text))
