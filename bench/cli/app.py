"""The command line of ``cambench``; ``cambench --help`` lists the verbs.

Exit codes: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ...consoles import err, make_streams_printable, out, say_written
from ...registry import RegistryError, UnknownNameError
from ...version import __version__
from ..engine.planning.config import RunConfig, read_config
from ..engine.planning.words import check_request
from ..host.errors import UsageError
from ..host.options import PluginOptions
from . import compare as cli_compare
from . import data as cli_data
from . import dry_run as cli_dry_run
from . import figure as cli_figure
from . import leaderboard as cli_leaderboard
from . import paper as cli_paper
from . import report as cli_report
from . import search as cli_search
from . import stored as cli_stored
from . import time as cli_time
from . import train as cli_train
from .options import command, load_plugins, made
from .verbs import Verb, Verbs

app = typer.Typer(
    name="cambench",
    cls=Verbs,
    help="Compare class activation maps honestly: one pass, published metrics, per-image records, leaderboards.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        out.print(f"cambench {__version__}")
        raise typer.Exit


@app.command(cls=Verb)
@command(RunConfig)
def run(
    given: Mapping[str, Any],
    config: Annotated[Path | None, typer.Option(help="YAML file of these fields; options given here win.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take on --processes devices, and stop.")
    ] = False,
) -> None:
    """Score triples on a data set: one pass, per-image records, leaderboards.

    Example, on the embedded birds (no data needed):

        cambench run --dataset synthbirds --triples 'slim_resnet/{gradcam,layercam,center}/*' --out runs/first

    Real images, described by WE metadata:

        cambench run --dataset wsol --root images/ --metadata we/ --triples 'efficientnet_lite0/*/softmax' --out runs/x
    """
    if config is None:
        missing = [flag for flag, key in (("--dataset", "dataset"), ("--out", "out")) if key not in given]
        if missing:
            raise UsageError(f"{' and '.join(missing)} missing; see 'cambench run --help'")
        settings = made(RunConfig, given)
    else:
        settings = read_config(config, given)
    if dry_run:
        check_request(settings)
        cli_dry_run.show(settings)
        return
    from ..engine.again import given_again

    finished = given_again(settings)
    if finished is not None:
        out.print(f"{settings.out} holds this run, finished; nothing was computed. Its files:", soft_wrap=True)
        for path in finished:
            out.print(f"  {path}", soft_wrap=True)
        return
    check_request(settings)
    from ...metrics.functional.kernels.ahead import begin as compile_kernels

    # While torch is imported, birds are drawn and heads are trained, another process makes the kernels' machine code.
    compile_kernels()
    err.print("starting: libraries, networks and data", soft_wrap=True)
    from ...results.tables.terminal import closing_table
    from ..notebook.runs import IncompleteRunError
    from ..notebook.runs import run as run_benchmark

    try:
        result, failed = run_benchmark(settings), None
    except IncompleteRunError as error:
        result, failed = error.result, error
    if result.others_at_work:
        out.print("this process is through; others go on, and the last of them writes the tables", soft_wrap=True)
    else:
        closing_table(result.run, out, result.standing)
    say_written(result.paths)
    if failed is not None:
        raise failed


@app.command("ls", cls=Verb)
@command(PluginOptions)
def list_names(
    request: PluginOptions,
    kind: Annotated[
        str | None, typer.Argument(help="backbones, cams, heads, datasets, metrics, protocols or wsol (default: all).")
    ] = None,
    pattern: Annotated[str, typer.Argument(help="Glob, such as 'slim_*' or 'timm:*convnext*'.")] = "*",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Sources, counts, needs.")] = False,
) -> None:
    """List what can be named: backbones, CAM methods, heads, data sets, metrics, protocols, WSOL methods.

    Example:

        cambench ls cams -v
    """
    from .ls import show

    load_plugins(request.plugins)
    show(out, kind, pattern, verbose)


app.command("time", cls=Verb)(cli_time.time_stages)
app.command(cls=Verb)(cli_stored.rescore)
app.command(cls=Verb)(cli_compare.compare)
app.command(cls=Verb)(cli_leaderboard.leaderboard)
app.command(cls=Verb)(cli_report.report)
app.command(cls=Verb)(cli_data.doctor)
app.command(cls=Verb)(cli_data.download)
app.command(cls=Verb)(cli_paper.reproduce)
app.command(cls=Verb)(cli_paper.factorial)
app.command(cls=Verb)(cli_search.search)
app.add_typer(cli_train.app, name="train")
app.add_typer(cli_stored.app, name="export")
app.add_typer(cli_figure.app, name="figure")


def main() -> None:
    """Entry point: errors become one readable line and an exit code, warnings a line."""
    make_streams_printable()
    before = warnings.formatwarning
    warnings.formatwarning = partial(_said, before)
    try:
        _run_app()
    finally:
        warnings.formatwarning = before


def _said(before: Callable[..., str], message: Warning | str, category: type[Warning], file: str, *rest: Any) -> str:
    """A warning that speaks to the user as a line of ours; a library's as Python shows it."""
    if issubclass(category, UserWarning) and "site-packages" not in file:
        return f"warning: {message}\n"
    return before(message, category, file, *rest)


def _run_app() -> None:
    # What is wrong with a picture is said in our words; Pillow's come before them, with lines of its code.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as end:
        # typer leaves with this code, and without a word.
        if end.code == 128 + signal.SIGINT:
            _interrupted()
        raise
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        _fail(error, code)


_FAILURES = (
    ("baselines.weights.weight_files", "WeightsError"),
    ("datasets.schema", "DatasetError"),
    ("results.records.record_errors", "ResultsError"),
    ("bench.host.errors", "RunError"),
)
"""Errors of data, weights, records and runs: module and class. What was raised has its module loaded already."""


def _exit_code(error: Exception) -> int | None:
    """2 for wrong use, 1 for data, weights or folders that cannot be used, None for a defect of ours."""
    if isinstance(error, UsageError | UnknownNameError | RegistryError):
        return 2
    package = __package__.partition(".")[0]
    loaded = [(sys.modules.get(f"{package}.{module}"), name) for module, name in _FAILURES]
    failures = tuple(getattr(module, name) for module, name in loaded if module is not None)
    return 1 if isinstance(error, (OSError, *failures)) else None


def _interrupted() -> None:
    _fail(RuntimeError("interrupted; run the same command again to continue"), 1)


def _fail(error: BaseException, code: int) -> None:
    err.print(f"[red]error:[/red] {_plain(error)}", soft_wrap=True)
    sys.exit(code)


def _plain(error: BaseException) -> str:
    from rich.markup import escape

    from ...text import visible

    # Names of files and classes may hold what would move the cursor or turn the line round.
    text = "\n".join(map(visible, (str(error) or type(error).__name__).split("\n")))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        text += ": the disk or its quota is full; finished files are kept. Free space and give the same command again"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        text += ": where this was to be written, name another place with --out or, of tables and reports, --dest"
    if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.EEXIST):
        text += ": a file, or a link that leads nowhere, stands where a folder is needed; name another place"
    return escape(text)
