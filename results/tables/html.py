"""Tables as HTML for notebooks; any text as text."""

from __future__ import annotations

from html import escape

from ...text import visible
from .grid import Cell, Document, Grid

TONES = {"good": "color:#1a7f37", "bad": "color:#cf222e", "": ""}


def to_html(document: Document) -> str:
    """A document as an HTML fragment without scripts or outside references."""
    facts = "".join(f"<li>{_text(name)}: {_text(value)}</li>" for name, value in document.facts)
    notes = "".join(f"<li>{_text(note)}</li>" for note in document.notes)
    grids = "".join(_table(grid) for grid in document.grids)
    lists = [f'<ul style="overflow-wrap:anywhere">{items}</ul>' if items else "" for items in (facts, notes)]
    return f'<div class="cambench"><h3>{_text(document.title)}</h3>{lists[0]}{grids}{lists[1]}</div>'


def _table(grid: Grid) -> str:
    over = "".join(f'<th colspan="{columns}">{_text(title)}</th>' for title, columns in grid.over)
    heads = "".join(f'<th scope="col">{_text(head)}</th>' for head in grid.head)
    rows = "".join(
        "<tr>" + "".join(_cell(cell, number=i >= grid.names) for i, cell in enumerate(row)) + "</tr>"
        for row in grid.rows
    )
    head = (f"<tr>{over}</tr>" if over else "") + f"<tr>{heads}</tr>"
    table = f"<table><caption>{_text(grid.title)}</caption><thead>{head}</thead><tbody>{rows}</tbody></table>"
    return f'<div style="overflow-x:auto">{table}</div>'


def _cell(cell: Cell, *, number: bool) -> str:
    text = f"<b>{_text(cell.text)}</b>" if cell.bold else _text(cell.text)
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
