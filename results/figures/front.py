"""Score against cost: a panel a backbone, intervals as bars, a line along the triples that nothing beats in both."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...text import visible
from ...triple import Triple
from ..scores.merge import Merged
from ..scores.shown import Metric
from ..statistics.intervals import Interval
from ..tables.naming import backbone_title, cam_title, head_title

PANEL_INCHES = (4.6, 3.8)
COLUMNS = 3
MARKERS = "osD^vP*X<>"
LOG_FROM = 8
"""Largest cost over smallest from which the axis is logarithmic."""


@dataclass(frozen=True)
class Point:
    """A triple in the figure: cost in forwards, score in its metric's unit, interval of the score or None."""

    triple: str
    cost: float
    score: float
    interval: Interval | None = None


def pareto_front(points: Sequence[Point], *, higher_is_better: bool) -> list[Point]:
    """Points that no other beats in cost and score, by ascending cost; of equal ones the first.

    A point is beaten by one that costs no more and scores no worse, and differs in one of the two.
    """
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -sign * p.score)):
        if not front or sign * point.score > sign * front[-1].score:
            front.append(point)
    return front


def pareto_points(
    merged: Merged, metric: str, costs: Mapping[str, float], intervals: Mapping[str, Mapping[str, Interval]]
) -> dict[str, list[Point]]:
    """Backbone -> points of the triples that have both a score and a cost; rows of the same records once."""
    found: dict[str, list[Point]] = {}
    for triple in merged.triples:
        score = merged.scores[triple].get(metric)
        if score is None or triple not in costs or merged.alias_of(triple):
            continue
        point = Point(triple, costs[triple], score, intervals.get(triple, {}).get(metric))
        found.setdefault(Triple.parse(triple).backbone, []).append(point)
    return found


def pareto_figure(merged: Merged, metric: Metric, groups: Mapping[str, Sequence[Point]], cost_label: str) -> Figure:
    """The figure: colour is the method, shape the head; controls are hollow, and take no part in the line.

    Args:
        merged: For the names. metric: What is scored. groups: ``pareto_points``. cost_label: Of the horizontal axes.
    """
    columns = min(COLUMNS, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.5), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    names = [Triple.parse(p.triple).names for points in groups.values() for p in points]
    cams, heads = (list(dict.fromkeys(n[i] for n in names)) for i in (1, 2))
    palette = [c for name in (("tab20", "tab20b") if len(cams) > 10 else ("tab10",)) for c in _colours(name)]
    colours = {cam: palette[i % len(palette)] for i, cam in enumerate(cams)}
    markers = {head: MARKERS[i % len(MARKERS)] for i, head in enumerate(heads)}
    for ax, (backbone, points) in zip(axes, groups.items(), strict=False):
        _panel(ax, merged, metric, points, colours, markers)
        ax.set_title(_plain(backbone_title(merged.manifest(points[0].triple), backbone)), fontsize=10)
        ax.set_xlabel(cost_label, fontsize=9)
        ax.set_ylabel(
            _plain(f"{metric.title} {metric.arrow}" + (f" ({metric.unit})" if metric.unit else "")), fontsize=9
        )
    for ax in axes[len(groups) :]:
        ax.set_visible(False)
    manifest = merged.manifest(merged.triples[0])
    handles = [
        *(Line2D([], [], marker="o", ls="", color=c, label=_plain(cam_title(manifest, k))) for k, c in colours.items()),
        *(
            Line2D([], [], marker=m, ls="", color="0.3", label=_plain(head_title(manifest, k)))
            for k, m in markers.items()
        ),
        Line2D([], [], color="0.4", lw=1, label="best at its cost"),
    ]
    _legend(figure, handles)
    return figure


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Below the panels, in as many columns as the figure is wide for; the figure grows by its height."""
    width, height = figure.get_size_inches()
    for columns in range(min(6, len(handles)), 0, -1):
        legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
        figure.draw_without_rendering()
        extent = legend.get_window_extent()
        if columns == 1 or extent.width <= figure.bbox.width:
            figure.set_size_inches(width, height + extent.height / figure.dpi)
            return
        legend.remove()


def _colours(name: str) -> list[tuple[float, float, float, float]]:
    palette = colormaps[name]
    return [palette(i) for i in range(palette.N)]


def _panel(
    ax: Axes,
    merged: Merged,
    metric: Metric,
    points: Sequence[Point],
    colours: Mapping[str, tuple[float, float, float, float]],
    markers: Mapping[str, str],
) -> None:
    competing = []
    for point in points:
        _, cam, head = Triple.parse(point.triple).names
        control = merged.manifest(point.triple).is_control(cam)
        colour = colours[cam]
        face = "none" if control else colour
        ax.plot([point.cost], [point.score], ls="", marker=markers[head], ms=6, color=colour, mfc=face, zorder=3)
        if point.interval is not None:
            ends = [point.interval.low, point.interval.high]
            ax.plot([point.cost] * 2, ends, color=colour, lw=1, alpha=0.45, zorder=2)
        if not control:
            competing.append(point)
    front = pareto_front(competing, higher_is_better=metric.higher_is_better)
    ax.plot([p.cost for p in front], [p.score for p in front], drawstyle="steps-post", color="0.4", lw=1, zorder=1)
    costs = [p.cost for p in points if p.cost > 0]
    if costs and max(costs) / min(costs) >= LOG_FROM:
        ax.set_xscale("symlog", linthresh=1)
    ax.grid(alpha=0.25)
    ax.tick_params(labelsize=8)


def _plain(text: str) -> str:
    # A dollar sign would start a formula.
    return visible(text).replace("$", r"\$")
