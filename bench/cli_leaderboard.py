"""``cambench leaderboard``: tables from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

out = Console(highlight=False)


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs (one protocol and data set).")],
    dest: Annotated[Path | None, typer.Option(help="Where the tables go (default: the first run's folder).")] = None,
    val: Annotated[
        list[Path] | None,
        typer.Option(help="Run of the val split, for protocols that choose τ there. Once, or once per run folder."),
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals/--no-intervals", help="Intervals, significance marks and ranks.")
    ] = True,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    benchmarks: Annotated[Path | None, typer.Option(help="JSON of pytest-benchmark, shown beside the tables.")] = None,
) -> None:
    """Rebuild Markdown, LaTeX and CSV leaderboards from records alone.

    Several runs of one protocol and data set become one table. The same records give the same bytes.

    Examples:

        cambench leaderboard runs/first --dest tables/

        cambench leaderboard runs/* --dest tables/
    """
    from ..results.escape import visible
    from ..results.leaderboard import write_leaderboard
    from ..results.load import load_run

    loaded = [load_run(run) for run in runs]
    paths = write_leaderboard(
        loaded,
        dest or runs[0],
        benchmarks=benchmarks,
        vals=val or [],
        intervals=intervals,
        resamples=resamples,
        seed=seed,
    )
    for path in paths:
        out.print(f"wrote {path}", soft_wrap=True, markup=False)
    for problem in (line for run in loaded for line in run.problems):
        out.print(f"problem: {visible(problem)}", soft_wrap=True, markup=False, style="yellow")
