"""The command line of ``cambench``; ``cambench --help`` lists the verbs.

Exit codes: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import errno
import io
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ...registry import RegistryError, UnknownNameError
from ...version import __version__
from ..host.errors import UsageError
from . import compare as cli_compare
from . import data as cli_data
from . import figure as cli_figure
from . import leaderboard as cli_leaderboard
from . import paper as cli_paper
from . import report as cli_report
from . import time as cli_time
from . import train as cli_train
from .options import Metadata, Options, Plugin, Root, dataset_options, load_plugins, named_files

app = typer.Typer(
    name="cambench",
    help="Compare class activation maps honestly: one pass, published metrics, per-image records, leaderboards.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

out = Console(highlight=False)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        out.print(f"cambench {__version__}")
        raise typer.Exit


@app.command()
def run(
    dataset: Annotated[str | None, typer.Option(help="Data set: see 'cambench ls datasets'.")] = None,
    root: Root = None,
    triples: Annotated[
        list[str] | None,
        typer.Option(help="Pattern backbone/cam/head, such as 'slim_*/gradcam/{softmax,sigmoid}'; may be repeated."),
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Protocol: see 'cambench ls protocols'. (default: paper)")
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(help="Score-CAM family, Ablation-CAM: only the K most active channels (an approximation).", min=1),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="Folder of the run; an unfinished run continues.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of these fields; options given here win.")] = None,
    split: Annotated[str | None, typer.Option(help="train, val or test. (default: test)")] = None,
    metadata: Metadata = None,
    option: Options = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N images (a smoke run).", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. (default: auto)")] = None,
    weights: Annotated[
        list[str] | None, typer.Option(help="Weights FILE of the one backbone, or BACKBONE=FILE; may be repeated.")
    ] = None,
    head_weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Branch FILE (else trained during the run). Where a run has several, BACKBONE=FILE, BRANCH=FILE or "
            "BACKBONE:BRANCH=FILE, BRANCH being sigmoid or semantic; may be repeated."
        ),
    ] = None,
    softmax_weights: Annotated[
        list[str] | None,
        typer.Option(help="Softmax head FILE or BACKBONE=FILE, as 'cambench train head --branch softmax' writes it."),
    ] = None,
    head_recipe: Annotated[
        str | None, typer.Option(help="Recipe of heads that are trained during the run. (default: auto)")
    ] = None,
    pretrained: Annotated[
        bool | None, typer.Option("--pretrained/--no-pretrained", help="Use the weights that a backbone ships.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images a batch. (default: 32)", min=1)] = None,
    workers: Annotated[int | None, typer.Option(help="Decoding threads.", min=1)] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Autocast of the backbone: float32, bfloat16, float16. (default: float32)")
    ] = None,
    channels_last: Annotated[
        bool | None,
        typer.Option(
            "--channels-last/--no-channels-last", help="Memory layout of the backbone's tensors; faster on some GPUs."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the heads that are trained. (default: 0)")] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(help="Further per-image metrics, by pattern; expensive ones by name.")
    ] = None,
    keep_maps: Annotated[
        bool | None,
        typer.Option(
            "--keep-maps/--no-keep-maps", help="Store score maps. (default: those of at most 40 MiB a triple)"
        ),
    ] = None,
    plugin: Plugin = None,
) -> None:
    """Score triples on a data set: one pass, per-image records, leaderboards.

    Example, on the embedded birds (no data needed):

        cambench run --dataset synthbirds --triples 'slim_resnet/{gradcam,layercam,center}/*' --out runs/first

    Real images, described by WE metadata:

        cambench run --dataset wsol --root images/ --metadata we/ --triples 'efficientnet_lite0/*/softmax' --out runs/x
    """
    from ..engine.again import finished_before
    from ..engine.config import RunConfig, read_config
    from ..engine.patterns import check_request

    given: dict[str, Any] = {
        "dataset": dataset,
        "root": root,
        "triples": tuple(triples) if triples else None,
        "protocol": protocol,
        "channels": channels,
        "out": output,
        "split": split,
        "options": dataset_options(option, metadata) or None,
        "limit": limit,
        "device": device,
        "weights": named_files(weights) or None,
        "head_weights": named_files(head_weights) or None,
        "softmax_weights": named_files(softmax_weights) or None,
        "head_recipe": head_recipe,
        "pretrained": pretrained,
        "batch_size": batch_size,
        "workers": workers,
        "dtype": dtype,
        "channels_last": channels_last,
        "seed": seed,
        "metrics": tuple(metrics) if metrics else None,
        "keep_maps": keep_maps,
        "plugins": tuple(plugin) if plugin else None,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if config is None:
        missing = [flag for flag, key in (("--dataset", "dataset"), ("--out", "out")) if key not in given]
        if missing:
            raise UsageError(f"{' and '.join(missing)} missing; see 'cambench run --help'")
        settings = RunConfig.create(**given)
    else:
        settings = read_config(config, given)
    finished = finished_before(settings)
    if finished is None:
        check_request(settings)
    else:
        out.print(f"{settings.out} holds this run, finished; nothing was computed. Its files:", soft_wrap=True)
        for path in finished:
            out.print(f"  {path}", soft_wrap=True)
        return
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
        closing_table(result.run, out)
    for path in result.paths:
        out.print(f"wrote {path}", soft_wrap=True)
    if failed is not None:
        raise failed


@app.command("ls")
def list_names(
    kind: Annotated[
        str | None, typer.Argument(help="backbones, cams, heads, datasets, metrics or protocols (default: all).")
    ] = None,
    pattern: Annotated[str, typer.Argument(help="Glob, such as 'slim_*' or 'timm:*convnext*'.")] = "*",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Sources, counts, needs.")] = False,
    plugin: Plugin = None,
) -> None:
    """List what can be named: backbones, CAM methods, heads, data sets, metrics, protocols.

    Example:

        cambench ls cams -v
    """
    from .ls import show

    load_plugins(plugin)
    show(out, kind, pattern, verbose)


app.command("time")(cli_time.time_stages)
app.command()(cli_compare.compare)
app.command()(cli_leaderboard.leaderboard)
app.command()(cli_report.report)
app.command()(cli_data.doctor)
app.command()(cli_data.download)
app.command()(cli_paper.reproduce)
app.command()(cli_paper.factorial)
app.add_typer(cli_train.app, name="train")
app.add_typer(cli_figure.app, name="figure")


def main() -> None:
    """Entry point: errors become one readable line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal or file of another encoding (LANG=C) shows what it lacks as \\uNNNN.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        _fail(RuntimeError("interrupted; run the same command again to continue"), 1)
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        _fail(error, code)


def _exit_code(error: Exception) -> int | None:
    """2 for wrong use, 1 for data, weights or folders that cannot be used, None for a defect of ours."""
    if isinstance(error, UsageError | UnknownNameError | RegistryError):
        return 2
    from ...datasets.schema import DatasetError
    from ...results.records.record_errors import ResultsError
    from ..host.errors import RunError

    if isinstance(error, DatasetError | ResultsError | RunError | OSError):
        return 1
    # Imported last, since it loads torch.
    from ...baselines.weights import WeightsError

    return 1 if isinstance(error, WeightsError) else None


def _fail(error: BaseException, code: int) -> None:
    Console(stderr=True, highlight=False).print(f"[red]error:[/red] {_plain(error)}", soft_wrap=True)
    sys.exit(code)


def _plain(error: BaseException) -> str:
    from rich.markup import escape

    from ...text import visible

    # Names of files and classes may hold what would move the cursor or turn the line round.
    text = "\n".join(map(visible, (str(error) or type(error).__name__).split("\n")))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        text += ": the disk or its quota is full; finished files are kept. Free space and give the same command again"
    return escape(text)
