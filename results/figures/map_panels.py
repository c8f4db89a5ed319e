"""Figure 3 of the paper: input and maps side by side, columns by method and head, boxes of prediction and truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from .figure_style import PAPER, FigureStyle
from .overlay import PREDICTED_COLOR, TRUTH_COLOR, TRUTH_DASHES, Pixels, draw_boxes, show

TILE, GAP, GROUP_GAP, LABEL, HEADER, NOTE, CAPTION, FOOTER = 1.3, 0.04, 0.12, 0.32, 0.58, 0.16, 0.2, 0.3
"""Inches: a picture's side, gaps inside and between methods, row label, heading, line of notes, caption, legend."""
Boxes = Sequence[Sequence[float]]


@dataclass(frozen=True)
class MapColumn:
    """A column: its ``method`` stands once over neighbours of the same name, its ``head`` over itself."""

    method: str
    head: str


@dataclass(frozen=True)
class MapTile:
    """A map over its picture. ``predicted``: its boxes; ``note``: a few characters below it (an IoU)."""

    image: Pixels
    predicted: Boxes = ()
    note: str = ""


@dataclass(frozen=True)
class MapRow:
    """One picture under one network; ``tiles`` follow the columns, None where a method is impossible."""

    group: str
    caption: str
    image: Pixels
    truth: Boxes
    tiles: Sequence[MapTile | None]


@dataclass(frozen=True)
class _Page:
    """The figure, its size in inches, and its style; nothing that is written covers a picture."""

    figure: Figure
    width: float
    height: float
    style: FigureStyle

    @property
    def row(self) -> float:
        """Height of a picture with what stands below it."""
        return TILE + self.style.room(NOTE + CAPTION)

    @property
    def header(self) -> float:
        """Height of the headings."""
        return self.style.room(HEADER)

    def text(self, x: float, y: float, text: str, size: float, **how: Any) -> None:
        """Type at a place in inches."""
        self.figure.text(x / self.width, y / self.height, text, fontsize=self.style.pt(size), **how)


def map_figure(
    columns: Sequence[MapColumn], rows: Sequence[MapRow], note: str = "", style: FigureStyle = PAPER
) -> Figure:
    """The grid: one row a picture, rows of one ``group`` under one label at the left; ``note`` stands by the legend.

    Raises:
        ValueError: No rows or columns, or a row whose tiles do not follow the columns.
    """
    if not columns or not rows or any(len(r.tiles) != len(columns) for r in rows):
        raise ValueError("map figure: expected rows with one tile a column")
    lefts = _lefts(columns)
    label = style.room(LABEL) if any(r.group for r in rows) else 0.06
    width = max(label + lefts[-1] + TILE + 0.06, 4.2)
    height = style.room(HEADER + FOOTER) + len(rows) * (TILE + style.room(NOTE + CAPTION))
    page = _Page(Figure(figsize=(width, height), facecolor="white"), width, height, style)
    for k, row in enumerate(rows):
        bottom = height - page.header - TILE - k * page.row
        for left, tile in zip(lefts, (MapTile(row.image), *row.tiles), strict=True):
            _draw(page, label + left, bottom, tile, row.truth)
        page.text(label, bottom - style.room(NOTE) - 0.02, row.caption, 7, va="top", color="#333333")
    _groups(page, rows)
    _headings(page, columns, [label + x for x in lefts])
    _legend(page, note, any(len(r.truth) for r in rows))
    return page.figure


def _lefts(columns: Sequence[MapColumn]) -> list[float]:
    """Left edges in inches of the input and of every column."""
    lefts = [0.0, TILE + GROUP_GAP]
    for before, after in pairwise(columns):
        lefts.append(lefts[-1] + TILE + (GAP if before.method == after.method else GROUP_GAP))
    return lefts


def _draw(page: _Page, left: float, bottom: float, tile: MapTile | None, truth: Boxes) -> None:
    place = (left / page.width, bottom / page.height, TILE / page.width, TILE / page.height)
    axis, size = page.figure.add_axes(place), page.style.pt(7)
    if tile is None:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "not possible\non this network", ha="center", va="center", fontsize=size, color="#777777")
        return
    show(axis, tile.image)
    draw_boxes(axis, tile.predicted, PREDICTED_COLOR, page.style.line)
    draw_boxes(axis, truth, TRUTH_COLOR, page.style.line, TRUTH_DASHES)
    side = tile.image.shape[0]
    axis.set_xlim(-0.5, side - 0.5)
    axis.set_ylim(side - 0.5, -0.5)
    if tile.note:
        page.text(left + TILE / 2, bottom - 0.03, tile.note, 7, ha="center", va="top", color="#333333")


def _groups(page: _Page, rows: Sequence[MapRow]) -> None:
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop < len(rows) and rows[stop].group == rows[start].group:
            continue
        if rows[start].group:
            top, end = (page.height - page.header - k * page.row for k in (start, stop))
            middle = (top + end + page.row - TILE) / 2
            page.text(page.style.room(0.16), middle, rows[start].group, 9, rotation=90, ha="center", va="center")
        start = stop


def _headings(page: _Page, columns: Sequence[MapColumn], lefts: list[float]) -> None:
    base, room = page.height - page.header, page.style.room
    page.text(lefts[0] + TILE / 2, base + room(0.06), "input", 8, ha="center", va="bottom")
    for left, column in zip(lefts[1:], columns, strict=True):
        page.text(left + TILE / 2, base + room(0.06), column.head, 8, ha="center", va="bottom")
    start = 0
    for stop in range(1, len(columns) + 1):
        if stop < len(columns) and columns[stop].method == columns[start].method:
            continue
        left, right = lefts[start + 1], lefts[stop] + TILE
        how: dict[str, Any] = {"ha": "center", "va": "bottom", "fontweight": "bold"}
        page.text((left + right) / 2, base + room(0.32), columns[start].method, 9, **how)
        place = (left / page.width, (base + room(0.27)) / page.height)
        size = ((right - left) / page.width, 0.01 / page.height)
        rule: dict[str, Any] = {"transform": page.figure.transFigure, "facecolor": "#555555", "edgecolor": "none"}
        page.figure.add_artist(Rectangle(place, *size, **rule))
        start = stop


def _legend(page: _Page, note: str, truth: bool) -> None:
    handles = [Line2D([], [], color=PREDICTED_COLOR, linewidth=2, label="predicted box")]
    if truth:
        handles.append(Line2D([], [], color=TRUTH_COLOR, linewidth=2, ls=TRUTH_DASHES, label="true box"))
        page.figure.legend(
            handles=handles, loc="lower left", ncols=2, fontsize=page.style.pt(7.5), frameon=False, handlelength=1.9,
            bbox_to_anchor=(0.0, 0.0), borderaxespad=0.2,
        )  # fmt: skip
    page.text(page.width - 0.08, 0.08, note, 7, ha="right", va="bottom", color="#333333")
