"""Score against cost: a panel a backbone, cost on a logarithmic axis, the front as a line whose methods are named."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from ...text import visible
from ...triple import Triple
from ..scores.merge import Merged
from ..scores.shown import Metric
from ..statistics.intervals import Interval
from ..tables.look import CONTROL_LOOK, HeadLook, head_looks
from ..tables.naming import backbone_title, cam_title, head_title
from .figure_style import PAPER, FigureStyle

PANEL_INCHES = (3.4, 2.7)
COLUMNS = 3
DECADE = 10
"""Costs over less than this have ticks at round numbers, costs over more at 1, 2 and 5 of each power of ten."""


@dataclass(frozen=True)
class Point:
    """A triple in the figure: cost in forwards, score in its metric's unit, interval of the score or None."""

    triple: str
    cost: float
    score: float
    interval: Interval | None = None


def pareto_front(points: Sequence[Point], *, higher_is_better: bool, within: float = 0.0) -> list[Point]:
    """Points that no other beats in cost and score, by ascending cost; of equal ones the first.

    A point is beaten by one that costs no more and scores no worse, and differs in one of the two; costs that are a
    share of ``within`` apart, as a clock measures the same work twice, count as equal beside another score.
    """
    sign = 1 if higher_is_better else -1
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -sign * p.score)):
        if not front or sign * point.score > sign * front[-1].score:
            front.append(point)
    later = zip(front, [*front[1:], None], strict=True)
    return [p for p, q in later if q is None or q.cost > p.cost * (1 + within)]


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


def pareto_figure(
    merged: Merged,
    metric: Metric,
    groups: Mapping[str, Sequence[Point]],
    cost_label: str,
    style: FigureStyle = PAPER,
    within: float = 0.0,
) -> Figure:
    """The figure: colour and shape are the head, the methods of the front are named beside their points.

    The axes span the methods; a control that is off them is named with its score below the panel.

    Args:
        merged: For the names. metric: What is scored. groups: ``pareto_points``. cost_label: Of the horizontal axes.
        style: Of type and lines. within: Share by which costs may differ and count as equal.
    """
    columns = min(COLUMNS, len(groups))
    rows = math.ceil(len(groups) / columns)
    size = (PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + style.room(0.35))
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    points = [p for group in groups.values() for p in group]
    looks = head_looks(Triple.parse(p.triple).head for p in points if not _is_control(merged, p))
    panels = []
    for ax, (backbone, group) in zip(axes, groups.items(), strict=False):
        competing = [p for p in group if not _is_control(merged, p)]
        front = pareto_front(competing, higher_is_better=metric.higher_is_better, within=within)
        _panel(ax, merged, metric, group, front, looks, style)
        panels.append((ax, front))
        ax.set_title(
            _plain(backbone_title(merged.manifest(group[0].triple), backbone)),
            fontsize=style.pt(9.5), loc="left", fontweight="bold",
        )  # fmt: skip
    for ax in axes[len(groups) :]:
        ax.set_visible(False)
    unit = f" ({metric.unit})" if metric.unit else ""
    direction = "higher is better" if metric.higher_is_better else "lower is better"
    figure.supylabel(_plain(f"{metric.title}{unit}, {direction}"), fontsize=style.pt(9))
    figure.supxlabel(_plain(cost_label), fontsize=style.pt(9))
    manifest = merged.manifest(merged.triples[0])
    handles = [
        Line2D([], [], marker=k.marker, ls="", color=k.light, label=_plain(head_title(manifest, name)))
        for name, k in looks.items()
    ]
    if any(_is_control(merged, p) for p in points):
        handles.append(Line2D([], [], marker=CONTROL_LOOK.marker, ls="", color=CONTROL_LOOK.light, label="control"))
    about = "front: best at its cost" + (f" ± {100 * within:.0f} %" if within else "")
    handles.append(Line2D([], [], color="0.2", lw=1.2 * style.line, ls=(0, (4, 2)), label=_plain(about)))
    _legend(figure, handles, style)
    figure.draw_without_rendering()
    # The names stand where this layout puts them; another one, of another resolution, would move the panels.
    figure.set_layout_engine("none")
    for ax, front in panels:
        _name_front(ax, merged, front, style)
    return figure


def _is_control(merged: Merged, point: Point) -> bool:
    return merged.manifest(point.triple).is_control(Triple.parse(point.triple).cam)


def _legend(figure: Figure, handles: Sequence[Line2D], style: FigureStyle) -> None:
    """Above the panels, in as many columns as the figure is wide for; the figure grows by its height."""
    width, height = figure.get_size_inches()
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(
            handles=handles, loc="outside upper left", ncols=columns, fontsize=style.pt(8), frameon=False,
            handletextpad=0.3, columnspacing=1.2,
        )  # fmt: skip
        figure.draw_without_rendering()
        extent = legend.get_window_extent()
        if columns == 1 or extent.width <= figure.bbox.width:
            figure.set_size_inches(width, height + extent.height / figure.dpi)
            return
        legend.remove()


def _panel(
    ax: Axes,
    merged: Merged,
    metric: Metric,
    points: Sequence[Point],
    front: Sequence[Point],
    looks: Mapping[str, HeadLook],
    style: FigureStyle,
) -> None:
    """Draw a backbone's points, those of the front larger."""
    competing = [p for p in points if not _is_control(merged, p)]
    left, right, low, high = _limits(competing or points)
    for point in points:
        head = Triple.parse(point.triple).head
        look = CONTROL_LOOK if point not in competing else looks[head]
        strong = point in front
        if point.interval is not None:
            ends = [point.interval.low, point.interval.high]
            ax.plot([point.cost] * 2, ends, color=look.light, lw=style.line, alpha=0.4, zorder=2)
        ax.plot(
            [point.cost], [point.score], ls="", marker=look.marker, ms=(6.5 if strong else 4.5) * style.line,
            color=look.light, alpha=1 if strong else 0.7, mec="white", mew=0.5, zorder=4 if strong else 3,
        )  # fmt: skip
    costs, scores = [p.cost for p in front], [p.score for p in front]
    if front:
        ax.plot(
            [*costs, right], [*scores, scores[-1]], drawstyle="steps-post", color="0.2", lw=1.2 * style.line,
            ls=(0, (4, 2)), zorder=1,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xlim(left, right)
    ax.set_ylim(low, high)
    _ticks(ax, left, right)
    ax.grid(axis="y", color="0.88", lw=0.6 * style.line)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=style.pt(8))
    ax.spines[["top", "right"]].set_visible(False)
    off = [p for p in points if p not in competing and not (left <= p.cost <= right and low <= p.score <= high)]
    if off:
        names = ", ".join(
            f"{cam_title(merged.manifest(p.triple), Triple.parse(p.triple).cam)} {p.score:.{metric.digits}f}"
            for p in off
        )
        ax.set_xlabel(
            _wrapped(_plain(f"off the scale: {names}"), style.pt(7)), fontsize=style.pt(7), color="0.35", loc="left",
            labelpad=2, linespacing=1.15,
        )  # fmt: skip


def _limits(points: Sequence[Point]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the axes: the points with their intervals, and room for names."""
    costs = [p.cost for p in points if p.cost > 0] or [1.0]
    ends = [e for p in points for e in ((p.interval.low, p.interval.high) if p.interval else ()) if math.isfinite(e)]
    scores = [*(p.score for p in points), *ends]
    spread = max(max(costs) / min(costs), 1.15)
    room = (max(scores) - min(scores) or abs(max(scores)) or 1.0) * 0.08
    margin = spread**0.12
    return min(costs) / margin, max(costs) * margin**1.6, min(scores) - room, max(scores) + 2.5 * room


def _ticks(ax: Axes, left: float, right: float) -> None:
    if right / left < DECADE:
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


def _name_front(ax: Axes, merged: Merged, front: Sequence[Point], style: FigureStyle) -> None:
    """Method names beside the points of the front: none on another or on a point, each within the panel."""
    points_a_pixel = 72 / ax.figure.dpi
    line = 1.25 * style.pt(7.5) / points_a_pixel
    inside = ax.get_window_extent()
    at = {id(p): ax.transData.transform((p.cost, p.score)) for p in front}
    taken: list[tuple[float, float, float]] = []
    for point in sorted(front, key=lambda p: at[id(p)][1]):
        across, height = at[id(point)]
        name = _plain(cam_title(merged.manifest(point.triple), Triple.parse(point.triple).cam))
        text = ax.annotate(
            name, (point.cost, point.score), xytext=(5, 0), textcoords="offset points", fontsize=style.pt(7.5),
            va="center", ha="left", zorder=6, path_effects=[withStroke(linewidth=2.5, foreground="white")],
            arrowprops={"arrowstyle": "-", "lw": 0.5 * style.line, "color": "0.45", "shrinkA": 0, "shrinkB": 3},
        )  # fmt: skip
        wide = text.get_window_extent().width
        left = min(across + 5 / points_a_pixel, inside.x1 - wide)
        marks = [at[id(p)] for p in front]

        def free(middle: float, left: float = left, right: float = left + wide, marks: Sequence[Any] = marks) -> bool:
            if not inside.y0 + 0.5 * line <= middle <= inside.y1 - 0.5 * line:
                return False
            apart = [x + line / 2 < left or x - line / 2 > right or abs(y - middle) > line for x, y in marks]
            other = [end < left or begin > right or abs(y - middle) >= line for begin, end, y in taken]
            return all(apart) and all(other)

        # The nearest free height, above rather than below.
        steps = sorted((0.25 * line * k for k in range(-60, 61)), key=lambda d: abs(d - 0.9 * line))
        middle = next((height + step for step in steps if free(height + step)), height + 0.9 * line)
        taken.append((left, left + wide, middle))
        text.set_position(((left - across) * points_a_pixel, (middle - height) * points_a_pixel))
        if abs(middle - height) < 1.6 * line and text.arrow_patch is not None:
            text.arrow_patch.set_visible(False)


def _wrapped(text: str, size: float) -> str:
    """Lines that fit below a panel: a character is about half as wide as the type is high, an axis takes a fifth."""
    return "\n".join(wrap(text, int(0.8 * PANEL_INCHES[0] * 72 / (0.55 * size)), break_on_hyphens=False))


def _plain(text: str) -> str:
    # A dollar sign would start a formula.
    return visible(text).replace("$", r"\$")
