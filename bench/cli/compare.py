"""``cambench compare``: which runs and triples are meant, and what the answer means for an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..host.errors import UsageError

if TYPE_CHECKING:
    from ...results.statistics import Difference


class _Verdict(Console):
    """A terminal that may be closed early (``| head``): the exit code still answers the question."""

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()


out = _Verdict(highlight=False)


def compare(
    what: Annotated[
        list[str],
        typer.Argument(help="Run folders, and triples of theirs (patterns are allowed); or FOLDER:TRIPLE each."),
    ],
    val: Annotated[
        list[Path] | None,
        typer.Option(help="Run of the val split: adds the threshold transfer. Once, or once per run folder."),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="What the comparison is made for: only this is tested, and corrected for; repeatable."),
    ] = None,
    brief: Annotated[bool, typer.Option("--brief", help="The answer in words alone.")] = False,
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
    """Is B better than A? The answer in a sentence; differences with intervals and tests, the images behind them.

    One folder and triples: the first triple with each other one; patterns that name several each are paired by the
    network and the head that they share. Several folders: each triple that they share, the first folder with each
    other one. FOLDER:TRIPLE words: any triple of any folder with any other. Differences are the second minus the first.

    Exit codes: 0 compared, 1 worse (--fail-if-worse), 2 wrong use, or files that cannot be compared or written.

    Examples:

        cambench compare runs/first slim_resnet/gradcam/softmax slim_resnet/gradcam/sigmoid

        cambench compare runs/first 'slim_*/gradcam/*' 'slim_*/layercam/*' --metric gt_known_loc --brief

        cambench compare runs/main runs/mine --fail-if-worse max_box_acc_v2 --out diff.md

        cambench compare runs/main:vgg16/gradcam/softmax runs/mine:vgg16/mine/sigmoid
    """
    from ...atomic import write_text
    from ...results.records.record_errors import ResultsError
    from ...results.statistics import compare as compare_pairs
    from ...results.tables.compare_table import compare_csv, compare_document, print_document
    from ...results.tables.grid import to_markdown
    from ..notebook.pairs import pairs_of, sorted_out

    files = _checked_files(output or [])
    for name, fraction in (("--level", level), ("--alpha", alpha)):
        if not 0 < fraction < 1:
            raise UsageError(f"{name} {fraction}: expected a fraction between 0 and 1")
    try:
        runs, patterns = sorted_out(what)
        pairs = pairs_of(runs, patterns, val or [], all_pairs)
        found = compare_pairs(
            pairs,
            by=by,
            metrics=metric or (),
            intersect=intersect,
            images=images,
            resamples=resamples,
            seed=seed,
            level=level,
            alpha=alpha,
        )
        worse = found.worse(fail_if_worse or [])
        document = compare_document(found, classes=classes, brief=brief)
        print_document(document, out)
        for file in files:
            write_text(file, compare_csv(found) if file.suffix == ".csv" else to_markdown(document))
            out.print(f"wrote {file}", soft_wrap=True, markup=False)
    except (ResultsError, OSError) as error:
        # 1 must mean "worse" to a script, and nothing else.
        raise UsageError(str(error)) from error
    for d in worse:
        out.print(_worse_line(d), soft_wrap=True, markup=False, style="red")
    if worse:
        raise typer.Exit(1)


def _worse_line(d: Difference) -> str:
    by = f"{abs(d.value):.{d.metric.digits}f}"
    return f"worse: {d.second} than {d.first} in {d.metric.title} by {by} (p = {d.p_holm:.2g}; --fail-if-worse)"


def _checked_files(files: Sequence[Path]) -> list[Path]:
    for file in files:
        if file.suffix not in (".md", ".csv"):
            raise UsageError(f"--out {file}: expected a name that ends in .md or .csv")
    return list(files)
