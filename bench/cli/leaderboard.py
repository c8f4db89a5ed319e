"""``cambench leaderboard``: tables from records alone."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from ...consoles import err, out, say_written
from ..host.options import Flag, IntervalOptions, Words
from .options import command


class LeaderboardRequest(IntervalOptions):
    """Which runs become tables, and how these are laid out."""

    runs: Annotated[tuple[Path, ...], Flag(argument=True)] = Field(
        min_length=1, description="Folders of runs (one protocol and data set)."
    )
    dest: Path | None = Field(None, description="Where the tables go (default: tables/ in the first run's folder).")
    val: tuple[Path, ...] = Field(
        (),
        description="Run of the val split: for protocols that choose τ there, and adds the threshold transfer. Once, "
        "or once per run folder.",
    )
    intervals: bool = Field(True, description="Intervals, significance marks and ranks.")
    benchmarks: Path | None = Field(None, description="JSON of pytest-benchmark, shown beside the tables.")
    layout: Literal["compact", "full", "paper1", "paper2"] = Field(
        "compact", description="compact, full, or as in the paper: paper1, paper2."
    )
    columns: Words = Field((), description="Metrics (patterns), 'cost', 'measured': name,name,…")
    methods: Words = Field((), description="Methods (patterns): name,name,…")
    heads: Words = Field((), description="Heads (patterns): name,name,…")
    decimals: int | None = Field(None, ge=0, le=8, description="Decimals of every score.")
    transpose: Annotated[bool, Flag(("--transpose",))] = Field(
        False, description="Methods side by side, metrics below."
    )
    sort: Annotated[str, Flag(metavar="METRIC")] = Field("", description="Rows by this metric, the best first.")
    long: Annotated[bool, Flag(("--long",))] = Field(False, description="One row for each triple and metric.")
    width: Literal["column", "text", "auto"] = Field(
        "auto", description="LaTeX tables of a column, of the text, or auto."
    )
    standalone: Annotated[bool, Flag(("--standalone",))] = Field(
        False, description="Every LaTeX file compiles as it is."
    )


@command(LeaderboardRequest)
def leaderboard(request: LeaderboardRequest) -> None:
    """Rebuild Markdown, LaTeX and CSV leaderboards from records alone.

    Several runs of one protocol and data set become one table; the paper's layouts set several data sets side by side.
    The same records give the same bytes. What a glob finds beside run folders is left out and said.

    Examples:

        cambench leaderboard runs/first --dest tables/

        cambench leaderboard runs/* --dest tables/

        cambench leaderboard runs/cub runs/cars --layout paper1 --dest tables/ --standalone

        cambench leaderboard runs/first --columns pxap,gt_known_loc --heads softmax,sigmoid --sort pxap --decimals 1
    """
    from ...results.records.run_folder import read_manifest

    found = [run for run in request.runs if not _beside(run)] or request.runs
    for run in found:
        read_manifest(run)
    err.print("starting: records, intervals and tests", soft_wrap=True)
    from ...results.records.load import load_run
    from ...results.tables.leaderboard import write_leaderboard
    from ...results.tables.selection import TableOptions
    from ...text import visible

    for other in (run for run in request.runs if run not in found):
        out.print(f"left out: {visible(str(other))} is no run folder", soft_wrap=True, markup=False, style="yellow")
    loaded = [load_run(run) for run in found]
    paths = write_leaderboard(
        loaded,
        request.dest,
        benchmarks=request.benchmarks,
        vals=request.val,
        intervals=request.intervals,
        resamples=request.resamples,
        seed=request.seed,
        options=TableOptions(**{f.name: getattr(request, f.name) for f in fields(TableOptions)}),
    )
    say_written(paths)
    for problem in (line for run in loaded for line in run.problems):
        out.print(f"problem: {visible(problem)}", soft_wrap=True, markup=False, style="yellow")


def _beside(path: Path) -> bool:
    """A file, or a folder that no run has touched: what ``runs/*`` also finds. A wrong name is an error instead."""
    from ...results.records.run_folder import MANIFEST_NAME

    return path.exists() and not (path / MANIFEST_NAME).exists() and not (path / "records").exists()
