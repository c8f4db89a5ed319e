"""Figure 1 of the paper, measured: maps under growing shifts that no probability shows, and how fast they move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from .overlay import Pixels, show

TILE, CAPTION, LABEL, CHART = 1.15, 0.36, 0.95, 2.0
"""Inches: side of a picture, height of its captions, width of the row labels, height of the charts."""
LEGEND = 0.5
COLORS = ("#c0392b", "#e08e0b", "#1f6fb4", "#3aa76d")
"""Of the heads, in the order of the lines; a head's dashed line has the colour of its solid one."""


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
    """One line of a chart: mean change in percent with its interval, over the shifts in σ_W; dashed: own weights."""

    head: str
    shifts: Sequence[float]
    percent: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    dashed: bool = False


@dataclass(frozen=True)
class ShiftChart:
    """A chart of one equation."""

    title: str
    axis: str
    lines: Sequence[ShiftLine]


def shift_figure(title: str, blocks: Sequence[ShiftBlock], charts: Sequence[ShiftChart]) -> Figure:
    """Pictures above, charts below.

    Raises:
        ValueError: No blocks, or blocks of no maps.
    """
    if not blocks or not all(b.rows and b.heads for b in blocks):
        raise ValueError("distortion figure: no maps to show")
    columns = max(len(b.heads) for b in blocks)
    width = TILE + 0.12 + LABEL + columns * (TILE + 0.05) + 0.1
    heights = [0.5 + len(b.rows) * (TILE + CAPTION) for b in blocks]
    height = 0.42 + sum(heights) + 0.4 + CHART + 0.4 + LEGEND
    figure = Figure(figsize=(width, height), facecolor="white")
    figure.text(0.1 / width, 1 - 0.14 / height, title, ha="left", va="top", fontsize=10, fontweight="bold")
    top = height - 0.42
    for block, tall in zip(blocks, heights, strict=True):
        _block(figure, block, top, (width, height))
        top -= tall
    _charts(figure, charts, top - 0.4, (width, height))
    return figure


def _axes(figure: Figure, left: float, bottom: float, wide: float, tall: float, size: tuple[float, float]) -> Any:
    """Axes placed in inches."""
    return figure.add_axes((left / size[0], bottom / size[1], wide / size[0], tall / size[1]))


def _block(figure: Figure, block: ShiftBlock, top: float, size: tuple[float, float]) -> None:
    width, height = size
    figure.text(0.1 / width, (top - 0.05) / height, block.title, ha="left", va="top", fontsize=8.5)
    start, first = 0.1 + TILE + 0.12 + LABEL, top - 0.46
    axis = _axes(figure, 0.1, first - TILE, TILE, TILE, size)
    show(axis, block.image)
    axis.set_xlabel(block.caption, fontsize=7, labelpad=3)
    for k, row in enumerate(block.rows):
        bottom = first - TILE - k * (TILE + CAPTION)
        figure.text(
            (start - 0.08) / width, (bottom + TILE / 2) / height, row.title, ha="right", va="center", fontsize=8
        )
        for j, (tile, caption) in enumerate(zip(row.tiles, row.captions, strict=True)):
            axis = _axes(figure, start + j * (TILE + 0.05), bottom, TILE, TILE, size)
            show(axis, tile)
            axis.set_xlabel(caption, fontsize=6.5, labelpad=2)
            if k == 0:
                axis.set_title(block.heads[j], fontsize=8, pad=3)


def _charts(figure: Figure, charts: Sequence[ShiftChart], top: float, size: tuple[float, float]) -> None:
    wide = (size[0] - 0.75 - 0.65 * (len(charts) - 1) - 0.15) / max(len(charts), 1)
    for k, chart in enumerate(charts):
        axis = _axes(figure, 0.65 + k * (wide + 0.65), top - CHART, wide, CHART, size)
        heads = list(dict.fromkeys(line.head for line in chart.lines))
        for order, line in enumerate(chart.lines):
            color, style = COLORS[heads.index(line.head) % len(COLORS)], "--" if line.dashed else "-"
            title = f"{line.head}, its own weights shifted" if line.dashed else line.head
            axis.plot(
                line.shifts, line.percent, style, color=color, linewidth=1.4, label=title, marker=".", zorder=9 - order
            )
            axis.fill_between(line.shifts, line.low, line.high, color=color, alpha=0.15, linewidth=0)
        axis.set_title(chart.title, fontsize=8.5, loc="left")
        axis.set_xlabel(chart.axis, fontsize=8)
        axis.set_ylabel("mean change of the\nnormalised map (%)" if k == 0 else "", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.set_ylim(bottom=-0.03 * axis.get_ylim()[1])
        axis.spines[["top", "right"]].set_visible(False)
        if k == 0:
            figure.legend(
                *axis.get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=7, frameon=False,
                bbox_to_anchor=(0.5, 0.04 / size[1]),
            )  # fmt: skip
