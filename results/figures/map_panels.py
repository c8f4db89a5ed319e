"""Figure 3 of the paper: input and maps side by side, columns by method and head, boxes of prediction and truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from .overlay import PREDICTED_COLOR, TRUTH_COLOR, Pixels, draw_boxes, show

TILE, GAP, GROUP_GAP, LABEL, HEADER, CAPTION, FOOTER = 1.3, 0.04, 0.12, 0.32, 0.62, 0.19, 0.34
"""Inches: a picture's side, gaps inside and between methods, row label, heading, caption of a row, legend."""
Boxes = Sequence[Sequence[float]]


@dataclass(frozen=True)
class MapColumn:
    """A column: its ``method`` stands once over neighbours of the same name, its ``head`` over itself."""

    method: str
    head: str


@dataclass(frozen=True)
class MapTile:
    """A map over its picture. ``predicted``: its boxes; ``note``: a few characters in its corner (an IoU)."""

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


def map_figure(columns: Sequence[MapColumn], rows: Sequence[MapRow], note: str = "") -> Figure:
    """The grid: one row a picture, rows of one ``group`` under one label at the left; ``note`` stands by the legend.

    Raises:
        ValueError: No rows or columns, or a row whose tiles do not follow the columns.
    """
    if not columns or not rows or any(len(r.tiles) != len(columns) for r in rows):
        raise ValueError("map figure: expected rows with one tile a column")
    lefts = _lefts(columns)
    label = LABEL if any(r.group for r in rows) else 0.06
    width = max(label + lefts[-1] + TILE + 0.06, 4.2)
    height = HEADER + len(rows) * (TILE + CAPTION) + FOOTER
    figure = Figure(figsize=(width, height), facecolor="white")
    for k, row in enumerate(rows):
        bottom = height - HEADER - TILE - k * (TILE + CAPTION)
        for left, tile in zip(lefts, (MapTile(row.image), *row.tiles), strict=True):
            box = ((label + left) / width, bottom / height, TILE / width, TILE / height)
            _draw(figure, box, tile, row.truth)
        figure.text(label / width, (bottom - 0.03) / height, row.caption, fontsize=6.5, va="top", color="#333333")
    _groups(figure, rows, height)
    _headings(figure, columns, [label + x for x in lefts], (width, height))
    _legend(figure, note, any(len(r.truth) for r in rows), (width, height))
    return figure


def _lefts(columns: Sequence[MapColumn]) -> list[float]:
    """Left edges in inches of the input and of every column."""
    lefts = [0.0, TILE + GROUP_GAP]
    for before, after in pairwise(columns):
        lefts.append(lefts[-1] + TILE + (GAP if before.method == after.method else GROUP_GAP))
    return lefts


def _draw(figure: Figure, place: tuple[float, float, float, float], tile: MapTile | None, truth: Boxes) -> None:
    axis = figure.add_axes(place)
    if tile is None:
        axis.set_axis_off()
        axis.text(0.5, 0.5, "not possible\non this network", ha="center", va="center", fontsize=7, color="#777777")
        return
    show(axis, tile.image)
    draw_boxes(axis, truth, TRUTH_COLOR)
    draw_boxes(axis, tile.predicted, PREDICTED_COLOR)
    side = tile.image.shape[0]
    axis.set_xlim(-0.5, side - 0.5)
    axis.set_ylim(side - 0.5, -0.5)
    if tile.note:
        rim = {"boxstyle": "round,pad=0.18", "facecolor": "black", "edgecolor": "none", "alpha": 0.55}
        axis.text(0.03, 0.97, tile.note, transform=axis.transAxes, fontsize=6.5, va="top", color="white", bbox=rim)


def _groups(figure: Figure, rows: Sequence[MapRow], height: float) -> None:
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop < len(rows) and rows[stop].group == rows[start].group:
            continue
        if rows[start].group:
            top = height - HEADER - start * (TILE + CAPTION)
            middle = (top + height - HEADER - stop * (TILE + CAPTION) + CAPTION) / 2
            figure.text(
                0.16 / figure.get_figwidth(), middle / height, rows[start].group, rotation=90, ha="center", va="center",
                fontsize=9,
            )  # fmt: skip
        start = stop


def _headings(figure: Figure, columns: Sequence[MapColumn], lefts: list[float], size: tuple[float, float]) -> None:
    width, height = size
    base = height - HEADER
    figure.text((lefts[0] + TILE / 2) / width, (base + 0.07) / height, "input", ha="center", va="bottom", fontsize=8)
    for left, column in zip(lefts[1:], columns, strict=True):
        figure.text(
            (left + TILE / 2) / width, (base + 0.07) / height, column.head, ha="center", va="bottom", fontsize=8
        )
    start = 0
    for stop in range(1, len(columns) + 1):
        if stop < len(columns) and columns[stop].method == columns[start].method:
            continue
        left, right = lefts[start + 1], lefts[stop] + TILE
        figure.text(
            (left + right) / 2 / width, (base + 0.34) / height, columns[start].method, ha="center", va="bottom",
            fontsize=9, fontweight="bold",
        )  # fmt: skip
        figure.add_artist(
            Rectangle(
                (left / width, (base + 0.29) / height),
                (right - left) / width,
                0.01 / height,
                transform=figure.transFigure,
                facecolor="#555555",
                edgecolor="none",
            )
        )
        start = stop


def _legend(figure: Figure, note: str, truth: bool, size: tuple[float, float]) -> None:
    handles = [Line2D([], [], color=PREDICTED_COLOR, linewidth=2, label="predicted box")]
    if truth:
        handles.append(Line2D([], [], color=TRUTH_COLOR, linewidth=2, label="ground truth"))
        figure.legend(
            handles=handles, loc="lower left", ncols=2, fontsize=7.5, frameon=False, handlelength=1.4,
            bbox_to_anchor=(0.0, 0.0), borderaxespad=0.3,
        )  # fmt: skip
    figure.text(1 - 0.08 / size[0], 0.12 / size[1], note, ha="right", va="bottom", fontsize=7, color="#333333")
