"""``cambench compare``: which runs and triples are meant, and what the answer means for an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..registry import UnknownNameError, expand_braces
from .errors import UsageError

if TYPE_CHECKING:
    from ..results.bootstrap import Entry
    from ..results.compare import Comparison, Pair
    from ..results.grid import Grid
    from ..results.load import Run
    from ..results.paired import Difference

out = Console(highlight=False)


def compare(
    what: Annotated[list[str], typer.Argument(help="Run folders, and triples of theirs (patterns are allowed).")],
    val: Annotated[
        list[Path] | None,
        typer.Option(help="Run of the val split: adds the threshold transfer. Once, or once per run folder."),
    ] = None,
    by: Annotated[str | None, typer.Option(help="Metric of the image and class lists.", metavar="METRIC")] = None,
    fail_if_worse: Annotated[
        list[str] | None,
        typer.Option(help="Exit with 1 where the second is significantly worse; repeatable.", metavar="METRIC"),
    ] = None,
    intersect: Annotated[bool, typer.Option("--intersect", help="Compare the common images of the runs.")] = False,
    all_pairs: Annotated[
        bool, typer.Option("--all-pairs", help="Any two, not only the first with each other.")
    ] = False,
    output: Annotated[
        list[Path] | None, typer.Option("--out", help="Also write a .md or .csv file; may be repeated.")
    ] = None,
    images: Annotated[int, typer.Option(help="Images listed on either side.", min=0)] = 5,
    classes: Annotated[int, typer.Option(help="Classes listed; the CSV has all.", min=0)] = 10,
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples.", min=2)] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the resamples.", min=0)] = 0,
    level: Annotated[float, typer.Option(help="Coverage of the intervals.")] = 0.95,
    alpha: Annotated[float, typer.Option(help="Significance level, after Holm's correction.")] = 0.05,
) -> None:
    """Is B better than A? Differences with intervals and paired tests, the images and classes behind them.

    One folder and triples: the first triple with each other one. Several folders: each triple that they share, the
    first folder with each other one. Differences are the second minus the first.

    Exit codes: 0 compared, 1 worse (--fail-if-worse), 2 wrong use or records that cannot be compared.

    Examples:

        cambench compare runs/first slim_resnet/gradcam/softmax slim_resnet/gradcam/sigmoid

        cambench compare runs/main runs/mine --fail-if-worse max_box_acc_v2 --out diff.md
    """
    from ..atomic import write_text
    from ..results.compare import compare as compare_pairs
    from ..results.compare_table import compare_csv, compare_document, print_document
    from ..results.errors import ResultsError
    from ..results.grid import to_markdown

    files = _checked_files(output or [])
    for name, fraction in (("--level", level), ("--alpha", alpha)):
        if not 0 < fraction < 1:
            raise UsageError(f"{name} {fraction}: expected a fraction between 0 and 1")
    try:
        runs, patterns = _sorted_out(what)
        pairs = _pairs(runs, patterns, val or [], all_pairs)
        found = compare_pairs(
            pairs, by=by, intersect=intersect, images=images, resamples=resamples, seed=seed, level=level, alpha=alpha
        )
        worse = found.worse(fail_if_worse or [])
        document = compare_document(found, classes=classes)
        if val:
            document.grids.append(_transfer_grid(found))
        print_document(document, out)
        for file in files:
            write_text(file, compare_csv(found) if file.suffix == ".csv" else to_markdown(document))
            out.print(f"wrote {file}", soft_wrap=True, markup=False)
    except ResultsError as error:
        # 1 must mean "worse" to a script, and nothing else.
        raise UsageError(str(error)) from error
    for d in worse:
        out.print(_worse_line(d), soft_wrap=True, markup=False, style="red")
    if worse:
        raise typer.Exit(1)


def _worse_line(d: Difference) -> str:
    by = f"{abs(d.value):.{d.metric.digits}f}"
    return f"worse: {d.second} than {d.first} in {d.metric.title} by {by} (p = {d.p_holm:.2g}; --fail-if-worse)"


def _transfer_grid(found: Comparison) -> Grid:
    from ..results.transfer import threshold_transfer, transfer_grid

    plan = found.boot.plan
    return transfer_grid(threshold_transfer(found.entries, resamples=plan.count, seed=plan.seed, level=found.level))


def _checked_files(files: Sequence[Path]) -> list[Path]:
    for file in files:
        if file.suffix not in (".md", ".csv"):
            raise UsageError(f"--out {file}: expected a name that ends in .md or .csv")
    return list(files)


def _sorted_out(what: Sequence[str]) -> tuple[list[Run], list[str]]:
    from ..results.load import load_run

    runs: list[Run] = []
    patterns: list[str] = []
    for word in what:
        if Path(word).is_dir():
            runs.append(load_run(word))
        elif word.count("/") >= 2:
            patterns.append(word)
        else:
            raise UsageError(f"{word!r} is neither a run folder nor a triple backbone/cam/head")
    if not runs:
        raise UsageError(f"no run folder among {' '.join(what)}; see 'cambench compare --help'")
    for run in runs:
        if not run.triples:
            raise UsageError(f"{run.out} has no records yet")
    return runs, patterns


def _pairs(runs: list[Run], patterns: list[str], val: list[Path], all_pairs: bool) -> list[Pair]:
    from ..results.bootstrap import Entry
    from ..results.load import load_run

    if len(val) not in (0, 1, len(runs)):
        raise UsageError(f"--val is given {len(val)} times for {len(runs)} run folders; give it once, or once for each")
    vals = [load_run(v) for v in val]
    of_run = [vals[i % len(vals)] if vals else None for i in range(len(runs))]
    used: set[str] = set()

    def entry(which: int, triple: str) -> Entry:
        run = runs[which]
        name = triple if len(runs) == 1 else f"{triple} in {run.out}"
        while name in used:
            name += " (again)"
        used.add(name)
        return Entry(name, run, triple, of_run[which])

    if len(runs) == 1:
        return _among([entry(0, t) for t in _one_run(runs[0], patterns)], all_pairs)
    shared = _shared(runs, patterns)
    if shared:
        columns = [[entry(i, t) for i in range(len(runs))] for t in shared]
        return [pair for column in columns for pair in _among(column, all_pairs)]
    return _among([entry(i, t) for i, t in _spread(runs, patterns)], all_pairs)


def _among(entries: Sequence[Entry], all_pairs: bool) -> list[Pair]:
    return list(combinations(entries, 2)) if all_pairs else [(entries[0], e) for e in entries[1:]]


def _one_run(run: Run, patterns: list[str]) -> list[str]:
    chosen = [t for p in patterns for t in _matching(p, run.triples)]
    if len(chosen) < 2:
        raise UsageError(
            f"name at least two triples of {run.out} (or a second run folder); it has {', '.join(run.triples)}"
        )
    return chosen


def _shared(runs: list[Run], patterns: list[str]) -> list[str]:
    """Triples that every run has: of the patterns, or all."""
    common = [t for t in runs[0].triples if all(t in run.triples for run in runs[1:])]
    if not patterns:
        if not common:
            lists = "; ".join(f"{run.out} has {', '.join(run.triples)}" for run in runs)
            raise UsageError(f"the runs share no triple: {lists}")
        return common
    return list(dict.fromkeys(t for p in patterns for t in common if _fits(p, t)))


def _spread(runs: list[Run], patterns: list[str]) -> list[tuple[int, str]]:
    """Triples of the patterns, each in the run that has it."""
    everything = list(dict.fromkeys(t for run in runs for t in run.triples))
    chosen = [t for p in patterns for t in _matching(p, everything)]
    found = [(i, t) for t in chosen for i, run in enumerate(runs) if t in run.triples]
    if len(found) < 2:
        raise UsageError(f"{' '.join(patterns)} names only {found[0][1]} in {runs[found[0][0]].out}; name two")
    return found


def _matching(pattern: str, triples: Sequence[str]) -> list[str]:
    found = [t for t in triples if _fits(pattern, t)]
    if not found:
        raise UnknownNameError("triple", pattern, triples)
    return found


def _fits(pattern: str, triple: str) -> bool:
    try:
        alternatives = expand_braces(pattern)
    except ValueError as error:
        raise UsageError(str(error)) from None
    parts = triple.rsplit("/", 2)
    return any(all(map(fnmatchcase, parts, a.rsplit("/", 2))) for a in alternatives)
