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
        typer.Option(
            help="Run of the val split: for protocols that choose τ there, and adds the threshold transfer. Once, or "
            "once per run folder."
        ),
    ] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals/--no-intervals", help="Intervals, significance marks and ranks.")
    ] = True,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    benchmarks: Annotated[Path | None, typer.Option(help="JSON of pytest-benchmark, shown beside the tables.")] = None,
) -> None:
    """Rebuild Markdown, LaTeX and CSV leaderboards from records alone.

    Several runs of one protocol and data set become one table. The same records give the same bytes. What a glob finds
    beside run folders is left out and said.

    Examples:

        cambench leaderboard runs/first --dest tables/

        cambench leaderboard runs/* --dest tables/
    """
    from ...results.records.load import load_run
    from ...results.tables.leaderboard import write_leaderboard
    from ...text import visible

    found = [run for run in runs if not _beside(run)] or runs
    for other in (run for run in runs if run not in found):
        out.print(f"left out: {visible(str(other))} is no run folder", soft_wrap=True, markup=False, style="yellow")
    loaded = [load_run(run) for run in found]
    paths = write_leaderboard(
        loaded,
        dest or found[0],
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


def _beside(path: Path) -> bool:
    """A file, or a folder that no run has touched: what ``runs/*`` also finds. A wrong name is an error instead."""
    from ...results.records.run_folder import MANIFEST_NAME

    return path.exists() and not (path / MANIFEST_NAME).exists() and not (path / "records").exists()
