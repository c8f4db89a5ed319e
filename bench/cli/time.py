"""``cambench time``: a thin command over ``timing.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .options import Device, Metadata, Options, Plugin, Root, dataset_options, load_plugins

out = Console(highlight=False)


def time_stages(
    triples: Annotated[list[str], typer.Option(help="Patterns, as in 'run'.")],
    dataset: Annotated[str, typer.Option(help="Data set whose images are timed.")] = "synthbirds",
    root: Root = None,
    metadata: Metadata = None,
    option: Options = None,
    stage: Annotated[str, typer.Option(help="all, or load: the input pipeline alone.")] = "all",
    batch_size: Annotated[int, typer.Option(help="Images a batch; never reduced silently.", min=1)] = 16,
    batches: Annotated[int, typer.Option(help="Timed batches, after one of warm-up.", min=2)] = 6,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="Autocast of the backbone: float32, bfloat16, float16.")] = "float32",
    protocol: Annotated[str, typer.Option(help="Protocol.")] = "paper",
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained/--no-pretrained", help="Time with the weights that a backbone ships, or without."),
    ] = True,
    report: Annotated[Path | None, typer.Option("--out", help="Also write the figures to this JSON file.")] = None,
    plugin: Plugin = None,
) -> None:
    """Time each stage of the one pass: median and IQR, in milliseconds an image and in plain forwards.

    Example:

        cambench time --triples 'slim_resnet/*/*' --batch-size 16
    """
    from ..engine.config import RunConfig
    from ..timing.stage_times import show_timings, time_pass

    load_plugins(plugin)
    config = RunConfig.create(
        dataset=dataset,
        root=root,
        options=dataset_options(option, metadata),
        triples=tuple(triples),
        protocol=protocol,
        out=Path(),
        device=device,
        batch_size=batch_size,
        dtype=dtype,
        pretrained=pretrained,
    )
    figures = time_pass(config, stage=stage, batches=batches)
    show_timings(figures, out)
    if report is not None:
        report.write_text(figures.model_dump_json(indent=2) + "\n", encoding="utf-8")
        out.print(f"wrote {report}", soft_wrap=True)
