"""``cambench figure pareto``: score against cost, from the records of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...registry import UnknownNameError
from ..host.consoles import out
from ..host.errors import UsageError

if TYPE_CHECKING:
    from ...results.scores import Merged

DEFAULTS = ("max_box_acc_v2", "pxap", "evidence_precision", "average_drop")
"""Metric where none is named: the first of these that the records have."""
LABELS = {
    "measured": "cost of the map, measured, in forwards",
    "declared": "cost of the map, declared, in forwards (a backward counts as two)",
}


def pareto(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs (one protocol and data set).")],
    output: Annotated[
        Path, typer.Option("--out", help="FILE.png, .pdf or .svg; a name without ending gives all three.")
    ],
    metric: Annotated[
        str | None, typer.Option(help="Score: a column of scores.csv. (default: MaxBoxAccV2, else the first there is)")
    ] = None,
    cost: Annotated[str, typer.Option(help="measured (in the run) or declared (the method's formula).")] = "measured",
    val: Annotated[list[Path] | None, typer.Option(help="Run of the val split, as in 'leaderboard'.")] = None,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the intervals.", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    dpi: Annotated[int, typer.Option(help="Pixels an inch of a PNG.", min=20, max=600)] = 150,
    style: Annotated[str, typer.Option(help="paper (serif, small) or screen (large type, thicker lines).")] = "paper",
) -> None:
    """Score against cost: a panel a backbone, 95 % intervals, the triples that nothing beats in both.

    Example:

        cambench figure pareto runs/first --metric pxap --out pareto
    """
    if cost not in LABELS:
        raise UsageError(f"--cost {cost!r}: expected {' or '.join(LABELS)}")
    drawn = draw_pareto(
        runs, output, metric, cost, val or [], resamples=resamples, seed=seed, dpi=dpi, style=style
    )  # fmt: skip
    for file in drawn:
        out.print(f"wrote {file}", soft_wrap=True, markup=False)


def draw_pareto(
    runs: Sequence[Path],
    output: Path,
    metric: str | None,
    cost: str,
    vals: Sequence[Path] = (),
    *,
    resamples: int,
    seed: int,
    dpi: int,
    style: str = "paper",
) -> list[Path]:
    """Write the figure to the files that ``output`` names; returns them.

    Raises:
        UsageError: A file format that cannot be written, or records without costs.
        UnknownNameError: The records have no such ranked metric.
    """
    from ...results.figures import drawing, pareto_figure, pareto_points, save_figure, style_named, targets_of
    from ...results.records.load import load_run
    from ...results.scores import merge_runs
    from ...results.statistics import standing
    from ...text import visible

    try:
        targets, look = targets_of(output), style_named(style)
    except ValueError as error:
        raise UsageError(str(error)) from None
    merged = merge_runs([load_run(r) for r in runs], [load_run(v) for v in vals])
    for problem in (line for run in merged.runs for line in run.problems):
        out.print(f"problem: {visible(problem)}", soft_wrap=True, markup=False, style="yellow")
    known = {m.name: m for m in merged.metrics if m.ranked and not m.per_backbone}
    name = metric or next((n for n in DEFAULTS if n in known), next(iter(known), ""))
    if name not in known:
        raise UnknownNameError("metric", name, known)
    costs = measured_costs(merged) if cost == "measured" else declared_costs(merged)
    groups = pareto_points(merged, name, costs, standing(merged, resamples=resamples, seed=seed).intervals)
    if not groups:
        raise UsageError(f"{', '.join(map(str, runs))}: no triple has both {name} and a {cost} cost in its records")
    with drawing(look):
        return save_figure(pareto_figure(merged, known[name], groups, LABELS[cost], look), targets, dpi)


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
        backbone, cam, _ = triple.rsplit("/", 2)
        timing = manifest.timings.backbones.get(backbone)
        if timing is None or timing.feature_shape is None or cam not in manifest.cams:
            continue
        try:
            found[triple] = Cost.parse(manifest.cams[cam].cost).forwards(*timing.feature_shape)
        except CostError:
            continue
    return found
