"""``cambench figure pareto``: score against cost, from the records of runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from ...consoles import out
from ...registry import UnknownNameError
from ..host.errors import UsageError
from ..host.options import Flag, IntervalOptions
from .figure_request import PictureOptions

if TYPE_CHECKING:
    from ...results.scores import Merged

DEFAULTS = ("max_box_acc_v2", "pxap", "evidence_precision", "average_drop")
"""Metric where none is named: the first of these that the records have."""
LABELS = {
    "measured": "cost of the map, measured, in forwards",
    "declared": "cost of the map, declared, in forwards (a backward counts as two)",
}


class ParetoRequest(IntervalOptions, PictureOptions):
    """Which score of which runs is drawn against which cost."""

    runs: Annotated[tuple[Path, ...], Flag(argument=True)] = Field(
        min_length=1, description="Folders of runs (one protocol and data set)."
    )
    metric: str | None = Field(
        None, description="Score: a column of scores.csv. (default: MaxBoxAccV2, else the first there is)"
    )
    cost: Literal["measured", "declared"] = Field(
        "measured", description="measured (in the run) or declared (the method's formula)."
    )
    val: tuple[Path, ...] = Field((), description="Run of the val split, as in 'leaderboard'.")


def draw_pareto(request: ParetoRequest) -> list[Path]:
    """Write the figure to the files that ``request.out`` names; returns them.

    Raises:
        UsageError: A file format that cannot be written, or records without costs.
        UnknownNameError: The records have no such ranked metric.
    """
    from ...results.records.run_folder import read_manifest

    for run in request.runs:
        read_manifest(run)
    from ...results.figures import drawing, pareto_figure, pareto_points, save_figure, style_named, targets_of
    from ...results.records.load import load_run
    from ...results.scores import merge_runs
    from ...results.statistics import standing
    from ...results.tables.extra_columns import CLOCK
    from ...text import visible

    try:
        targets, look = targets_of(request.out), style_named(request.style)
    except ValueError as error:
        raise UsageError(str(error)) from None
    merged = merge_runs([load_run(r) for r in request.runs], [load_run(v) for v in request.val])
    for problem in (line for run in merged.runs for line in run.problems):
        out.print(f"problem: {visible(problem)}", soft_wrap=True, markup=False, style="yellow")
    known = {m.name: m for m in merged.metrics if m.ranked and not m.per_backbone}
    name = request.metric or next((n for n in DEFAULTS if n in known), next(iter(known), ""))
    if name not in known:
        raise UnknownNameError("metric", name, known)
    costs = measured_costs(merged) if request.cost == "measured" else declared_costs(merged)
    intervals = standing(merged, resamples=request.resamples, seed=request.seed).intervals
    groups = pareto_points(merged, name, costs, intervals)
    if not groups:
        runs = ", ".join(map(str, request.runs))
        raise UsageError(f"{runs}: no triple has both {name} and a {request.cost} cost in its records")
    within = CLOCK if request.cost == "measured" else 0.0
    with drawing(look):
        figure = pareto_figure(merged, known[name], groups, LABELS[request.cost], look, within)
        return save_figure(figure, targets, request.dpi)


def measured_costs(merged: Merged) -> dict[str, float]:
    """Triple -> what its map was measured to cost, in forwards; triples without a timing are left out."""
    found: dict[str, float] = {}
    for triple in merged.triples:
        manifest = merged.manifest(triple)
        timing = manifest.timings.triples.get(manifest.canonical(triple))
        if timing is not None and timing.map_forwards is not None:
            found[triple] = timing.map_forwards
    return found


def declared_costs(merged: Merged) -> dict[str, float]:
    """Triple -> the formula of its method on its network, in forwards; those without a formula are left out."""
    from ...baselines.cams import Cost, CostError

    found: dict[str, float] = {}
    for triple in merged.triples:
        manifest = merged.manifest(triple)
        timing = manifest.timings.backbones.get(triple.backbone)
        if timing is None or timing.feature_shape is None or triple.cam not in manifest.cams:
            continue
        try:
            found[triple] = Cost.parse(manifest.cost(triple.backbone, triple.cam)).forwards(*timing.feature_shape)
        except CostError:
            continue
    return found
