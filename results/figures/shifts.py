"""Figure 1 of the paper, measured: maps under growing shifts that no probability shows, and how fast they move."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from ..tables.look import head_looks
from .figure_style import PAPER, FigureStyle
from .overlay import Pixels, show

TILE, CAPTION, LABEL, CHART = 1.15, 0.36, 0.95, 1.8
"""Inches of the paper style: side of a picture, height of its captions, width of the row labels, height of charts."""
TITLE, HEADS, LEGEND, AXIS = 0.32, 0.5, 0.42, 0.42
"""Inches: height of the title, of a block's headings, of the legend, and of a chart's labels."""
EXPLAINED = (
    "Two changes of the softmax classifier's weights that no output shows: each adds the same number to the score of "
    "every class, so that every probability p stays as it was. A map that is worth looking at should stay as it was, "
    "too. Below each map stands how far it moved: the mean change of its pixels, in % of its range. σ is the standard "
    "deviation of the classifier's weights."
)


@dataclass(frozen=True)
class ShiftRow:
    """One head's maps under growing shifts: ``tiles`` are pictures, ``captions`` the line below each."""

    title: str
    tiles: Sequence[Pixels]
    captions: Sequence[str]


@dataclass(frozen=True)
class ShiftBlock:
    """One picture under one equation: ``heads`` stand over the columns, ``rows`` are its heads."""

    title: str
    image: Pixels
    caption: str
    heads: Sequence[str]
    rows: Sequence[ShiftRow]


@dataclass(frozen=True)
class ShiftLine:
    """One line of a chart: mean change in percent with its interval, over the shifts in σ_W; dashed: own weights.

    ``head`` is its title, ``name`` what the head is registered as: it gives the colour.
    """

    head: str
    shifts: Sequence[float]
    percent: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    dashed: bool = False
    name: str = ""


@dataclass(frozen=True)
class ShiftChart:
    """A chart of one equation."""

    title: str
    axis: str
    lines: Sequence[ShiftLine]


def shift_figure(
    title: str, blocks: Sequence[ShiftBlock], charts: Sequence[ShiftChart], style: FigureStyle = PAPER
) -> Figure:
    """What is shown in words beside the picture, its maps below, charts of all pictures at the end.

    Raises:
        ValueError: No blocks, or blocks of no maps.
    """
    if not blocks or not all(b.rows and b.heads for b in blocks):
        raise ValueError("distortion figure: no maps to show")
    columns, room = max(len(b.heads) for b in blocks), style.room
    width = room(LABEL) + columns * (room(TILE) + 0.05) + 0.15
    tall = [_intro(blocks, k, style) + room(HEADS + len(b.rows) * (TILE + CAPTION)) for k, b in enumerate(blocks)]
    lines = textwrap.wrap(title, _letters(width - 0.2, style.pt(10), style, bold=True)) or [title]
    above = room(TITLE) + room(0.17) * (len(lines) - 1)
    height = above + sum(tall) + room(0.35 + CHART + AXIS + LEGEND)
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(
        0.1 / width, 1 - 0.1 / height, "\n".join(lines), ha="left", va="top", fontsize=style.pt(10), fontweight="bold"
    )
    top = height - above
    for k, block in enumerate(blocks):
        intro = _intro(blocks, k, style)
        if intro:
            _picture(figure, block, top, (width, height), style)
        _block(figure, block, top - intro, (width, height), style)
        top -= tall[k]
    _charts(figure, charts, top - room(0.35), (width, height), style)
    return figure


def _letters(inches: float, points: float, style: FigureStyle, *, bold: bool = False) -> int:
    """Letters of a size that stand side by side: by their mean width, in ems, of the widest fonts in use."""
    mean = 0.44 if style is PAPER else 0.53
    return max(1, int(inches * 72 / ((mean * 1.15 if bold else mean) * points)))


def _axes(figure: Figure, left: float, bottom: float, wide: float, tall: float, size: tuple[float, float]) -> Any:
    """Axes placed in inches."""
    return figure.add_axes((left / size[0], bottom / size[1], wide / size[0], tall / size[1]))


def _intro(blocks: Sequence[ShiftBlock], k: int, style: FigureStyle) -> float:
    """Height of the picture that a block begins with; none where the block before has the same."""
    same = k > 0 and blocks[k - 1].image is blocks[k].image
    return 0.0 if same else style.room(TILE + 0.3)


def _picture(figure: Figure, block: ShiftBlock, top: float, size: tuple[float, float], style: FigureStyle) -> None:
    tile = style.room(TILE)
    axis = _axes(figure, 0.1, top - tile, tile, tile, size)
    show(axis, block.image)
    axis.set_xlabel(block.caption, fontsize=style.pt(7), labelpad=2)
    left = 0.1 + tile + 0.15
    text = textwrap.fill(EXPLAINED, _letters(size[0] - left - 0.1, style.pt(8), style))
    figure.text(left / size[0], top / size[1], text, ha="left", va="top", fontsize=style.pt(8), linespacing=1.35)


def _block(figure: Figure, block: ShiftBlock, top: float, size: tuple[float, float], style: FigureStyle) -> None:
    (width, height), room, tile_side = size, style.room, style.room(TILE)
    figure.text(
        0.1 / width, (top - 0.05) / height, block.title, ha="left", va="top", fontsize=style.pt(8.5), fontweight="bold"
    )
    start, first = room(LABEL), top - room(HEADS - 0.04)
    for k, row in enumerate(block.rows):
        bottom = first - tile_side - k * room(TILE + CAPTION)
        label = textwrap.fill(row.title, 11)
        middle = (bottom + tile_side / 2) / height
        figure.text((start - 0.08) / width, middle, label, ha="right", va="center", fontsize=style.pt(8))
        for j, (tile, caption) in enumerate(zip(row.tiles, row.captions, strict=True)):
            axis = _axes(figure, start + j * (tile_side + 0.05), bottom, tile_side, tile_side, size)
            show(axis, tile)
            axis.set_xlabel(caption, fontsize=style.pt(6.5), labelpad=2)
            if k == 0:
                axis.set_title(block.heads[j], fontsize=style.pt(8), pad=3)


def _charts(
    figure: Figure, charts: Sequence[ShiftChart], top: float, size: tuple[float, float], style: FigureStyle
) -> None:
    left, tall = style.room(0.6), style.room(CHART)
    wide = (size[0] - 0.15 - left * max(len(charts), 1)) / max(len(charts), 1)
    looks = head_looks(line.name or line.head for chart in charts for line in chart.lines)
    for k, chart in enumerate(charts):
        axis = _axes(figure, left + k * (wide + left), top - tall, wide, tall, size)
        for order, line in enumerate(chart.lines):
            look, dashes = looks[line.name or line.head], "--" if line.dashed else "-"
            title = f"{line.head}, its own weights shifted" if line.dashed else line.head
            axis.plot(
                line.shifts, line.percent, dashes, color=look.light, linewidth=1.4 * style.line, label=title,
                marker=look.marker, markersize=3.5 * style.line, zorder=9 - order,
            )  # fmt: skip
            axis.fill_between(line.shifts, line.low, line.high, color=look.light, alpha=0.12, linewidth=0)
        axis.set_title(chart.title, fontsize=style.pt(8.5), loc="left")
        axis.set_xlabel(chart.axis, fontsize=style.pt(8))
        axis.set_ylabel("map moved by (%)" if k == 0 else "", fontsize=style.pt(8))
        axis.tick_params(labelsize=style.pt(7))
        axis.set_ylim(bottom=-0.03 * axis.get_ylim()[1])
        axis.spines[["top", "right"]].set_visible(False)
        if k == 0:
            figure.legend(
                *axis.get_legend_handles_labels(), loc="lower center", ncols=3,
                fontsize=style.pt(7), frameon=False, bbox_to_anchor=(0.5, 0.02 / size[1]),
            )  # fmt: skip
