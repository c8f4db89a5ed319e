"""Contact sheet of a data set: one column a class, columns grouped by family, boxes and evidence outlined."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .figure_style import PAPER, FigureStyle

BOX_COLOR, EVIDENCE_COLOR = "#ffffff", "#ff2fd0"
TILE_INCHES, HEAD_INCHES = 1.25, 0.69
LETTERS = 14
"""Letters of a line above a column."""


@dataclass(frozen=True)
class Tile:
    """One picture: ``image`` (H,W,3) uint8; ``boxes`` x0,y0,x1,y1 in its pixels; ``evidence`` (H,W) bool or None."""

    image: npt.NDArray[np.uint8]
    boxes: Sequence[Sequence[float]] = ()
    evidence: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class SheetColumn:
    """The samples of one class; neighbouring columns of one ``group`` stand under one heading."""

    title: str
    tiles: Sequence[Tile]
    group: str = ""


def contact_sheet(columns: Sequence[SheetColumn], *, outlined: int | None = None, style: FigureStyle = PAPER) -> Figure:
    """Figure of the columns; the last ``outlined`` rows (all for None) show boxes and evidence.

    Raises:
        ValueError: There is no tile to show.
    """
    deep = max((len(c.tiles) for c in columns), default=0)
    if deep == 0:
        raise ValueError("contact sheet: no images to show; choose a split and classes that have some")
    marked = deep if outlined is None else outlined
    height = TILE_INCHES * deep + style.room(HEAD_INCHES)
    figure = Figure(figsize=(TILE_INCHES * len(columns), height), facecolor="white")
    top = TILE_INCHES * deep / height
    axes = figure.subplots(
        deep, len(columns), squeeze=False,
        gridspec_kw={"left": 0.002, "right": 0.998, "bottom": 0.002, "top": top, "wspace": 0.03, "hspace": 0.03},
    )  # fmt: skip
    for axis in axes.flat:
        axis.set_axis_off()
    for k, column in enumerate(columns):
        axes[0, k].set_title(
            "\n".join(textwrap.wrap(column.title, int(LETTERS / style.text))), fontsize=style.pt(8), pad=3
        )
        for depth, tile in enumerate(column.tiles):
            _show(axes[depth, k], tile, style, outline=depth >= deep - marked)
    _headings(figure, columns, axes, top, style)
    return figure


def _show(axis: Any, tile: Tile, style: FigureStyle, *, outline: bool) -> None:
    axis.imshow(tile.image, aspect="auto", interpolation="lanczos")
    if not outline:
        return
    for x0, y0, x1, y1 in tile.boxes:
        # Pixel centres are at whole numbers, so an edge at x lies at x - 0.5 of the axis.
        place, size = (x0 - 0.5, y0 - 0.5), (x1 - x0, y1 - y0)
        axis.add_patch(Rectangle(place, *size, fill=False, edgecolor=BOX_COLOR, linewidth=style.line))
    if tile.evidence is not None and tile.evidence.any():
        axis.contour(tile.evidence.astype(float), levels=[0.5], colors=[EVIDENCE_COLOR], linewidths=0.9 * style.line)


def _headings(figure: Figure, columns: Sequence[SheetColumn], axes: Any, top: float, style: FigureStyle) -> None:
    """Family names over a line that spans their columns."""
    start = 0
    for stop in range(1, len(columns) + 1):
        if stop < len(columns) and columns[stop].group == columns[start].group:
            continue
        if columns[start].group:
            left, right = axes[0, start].get_position().x0, axes[0, stop - 1].get_position().x1
            height = top + (1 - top) * 0.66
            line: dict[str, Any] = {"transform": figure.transFigure, "facecolor": "#555555", "edgecolor": "none"}
            figure.add_artist(Rectangle((left + 0.002, height), right - left - 0.004, 0.002, **line))
            figure.text(
                (left + right) / 2, height + 0.012, columns[start].group, ha="center", va="bottom", fontsize=style.pt(9)
            )
        start = stop
