"""``cambench leaderboard``: tables from records alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..host.consoles import out


def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs (one protocol and data set).")],
    dest: Annotated[
        Path | None, typer.Option(help="Where the tables go (default: tables/ in the first run's folder).")
    ] = None,
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
    layout: Annotated[str, typer.Option(help="compact, full, or as in the paper: paper1, paper2.")] = "compact",
    columns: Annotated[
        str | None, typer.Option(help="Metrics (patterns), 'cost', 'measured': name,name,…", metavar="NAMES")
    ] = None,
    methods: Annotated[str | None, typer.Option(help="Methods (patterns): name,name,…", metavar="NAMES")] = None,
    heads: Annotated[str | None, typer.Option(help="Heads (patterns): name,name,…", metavar="NAMES")] = None,
    decimals: Annotated[int | None, typer.Option(help="Decimals of every score.", min=0, max=8)] = None,
    transpose: Annotated[bool, typer.Option("--transpose", help="Methods side by side, metrics below.")] = False,
    sort: Annotated[str, typer.Option(help="Rows by this metric, the best first.", metavar="METRIC")] = "",
    long: Annotated[bool, typer.Option("--long", help="One row for each triple and metric.")] = False,
    width: Annotated[str, typer.Option(help="LaTeX tables of a column, of the text, or auto.")] = "auto",
    standalone: Annotated[bool, typer.Option("--standalone", help="Every LaTeX file compiles as it is.")] = False,
) -> None:
    """Rebuild Markdown, LaTeX and CSV leaderboards from records alone.

    Several runs of one protocol and data set become one table; the paper's layouts set several data sets side by side.
    The same records give the same bytes. What a glob finds beside run folders is left out and said.

    Examples:

        cambench leaderboard runs/first --dest tables/

        cambench leaderboard runs/* --dest tables/

        cambench leaderboard runs/cub runs/cars --layout paper1 --dest tables/ --standalone

        cambench leaderboard runs/first --columns pxap,gt_known_loc --heads softmax,sigmoid --sort pxap --decimals 1
    """
    from ...results.records.load import load_run
    from ...results.tables.leaderboard import write_leaderboard
    from ...results.tables.selection import TableOptions
    from ...text import visible

    options = TableOptions(
        layout=layout,  # type: ignore[arg-type]  # checked there, as for every caller
        columns=_names(columns),
        methods=_names(methods),
        heads=_names(heads),
        decimals=decimals,
        transpose=transpose,
        sort=sort,
        long=long,
        width=width,  # type: ignore[arg-type]
        standalone=standalone,
    )
    found = [run for run in runs if not _beside(run)] or runs
    for other in (run for run in runs if run not in found):
        out.print(f"left out: {visible(str(other))} is no run folder", soft_wrap=True, markup=False, style="yellow")
    loaded = [load_run(run) for run in found]
    paths = write_leaderboard(
        loaded,
        dest,
        benchmarks=benchmarks,
        vals=val or [],
        intervals=intervals,
        resamples=resamples,
        seed=seed,
        options=options,
    )
    for path in paths:
        out.print(f"wrote {path}", soft_wrap=True, markup=False)
    for problem in (line for run in loaded for line in run.problems):
        out.print(f"problem: {visible(problem)}", soft_wrap=True, markup=False, style="yellow")


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in (text or "").split(","))))


def _beside(path: Path) -> bool:
    """A file, or a folder that no run has touched: what ``runs/*`` also finds. A wrong name is an error instead."""
    from ...results.records.run_folder import MANIFEST_NAME

    return path.exists() and not (path / MANIFEST_NAME).exists() and not (path / "records").exists()
