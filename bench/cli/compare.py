"""``cambench compare``: which runs and triples are meant, and what the answer means for an exit code."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import AfterValidator, Field
from rich.console import Console

from ...consoles import err, say_written
from ..host.errors import UsageError
from ..host.options import Flag
from ..notebook.compare_options import CompareOptions, placed
from .options import command

if TYPE_CHECKING:
    from ...results.statistics import Difference


class _Verdict(Console):
    """A terminal that may be closed early (``| head``): the exit code still answers the question."""

    def on_broken_pipe(self) -> None:
        with suppress(SystemExit):
            super().on_broken_pipe()


out = _Verdict(highlight=False)


def _table_file(file: Path) -> Path:
    if file.suffix not in (".md", ".csv"):
        raise ValueError(f"{str(file)!r}: expected a name that ends in .md or .csv")
    return file


TableFile = Annotated[Path, AfterValidator(_table_file)]


class CompareRequest(CompareOptions):
    """What is compared, by what, and what is shown."""

    what: Annotated[tuple[str, ...], Flag(argument=True)] = Field(
        min_length=1,
        description="Run folders, and triples of theirs (patterns are allowed); or FOLDER:TRIPLE each.",
    )
    val: tuple[Path, ...] = Field(
        (), description="Run of the val split: adds the threshold transfer. Once, or once per run folder."
    )
    brief: Annotated[bool, Flag(("--brief",))] = Field(False, description="The answer in words alone.")
    fail_if_worse: Annotated[tuple[str, ...], Flag(metavar="METRIC")] = Field(
        (), description="Exit with 1 where the second is significantly worse; repeatable."
    )
    all_pairs: Annotated[bool, Flag(("--all-pairs",))] = Field(
        False, description="Any two, not only the first with each other."
    )
    out: tuple[TableFile, ...] = Field((), description="Also write a .md or .csv file; may be repeated.")
    classes: int = Field(10, ge=0, description="Classes listed; the CSV has all.")


def check_words(words: tuple[str, ...]) -> None:
    """Raise what is wrong with the words of a comparison, before any table is read."""
    from ...results.records.run_folder import read_manifest

    folders = [folder for folder, _ in map(placed, words) if folder is not None]
    for folder in folders:
        read_manifest(folder)
    if not folders:
        raise UsageError(f"no run folder among {' '.join(words)}; see 'cambench compare --help'")


@command(CompareRequest)
def compare(request: CompareRequest) -> None:
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
    from ...results.records.record_errors import ResultsError

    try:
        check_words(request.what)
    except ResultsError as error:
        raise UsageError(str(error)) from error
    err.print("starting: records, intervals and tests", soft_wrap=True)
    from ...atomic import write_text
    from ...results.statistics import compare as compare_pairs
    from ...results.tables.compare_table import compare_csv, compare_document, print_document
    from ...results.tables.grid import to_markdown
    from ..notebook.pairs import pairs_of, sorted_out

    try:
        runs, patterns = sorted_out(request.what)
        pairs = pairs_of(runs, patterns, request.val, request.all_pairs)
        found = compare_pairs(pairs, request.choices)
        worse = found.worse(request.fail_if_worse)
        document = compare_document(found, classes=request.classes, brief=request.brief)
        print_document(document, out)
        for file in request.out:
            write_text(file, compare_csv(found) if file.suffix == ".csv" else to_markdown(document))
            say_written([file])
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
