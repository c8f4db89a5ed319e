"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BackboneName = Annotated[str, typer.Option(help="Network: see 'cambench ls backbones'; any timm model as timm:NAME.")]
DatasetName = Annotated[str, typer.Option(help="Data set: see 'cambench ls datasets'.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the data set, as you have it on disk.")]
Metadata = Annotated[Path | None, typer.Option(help="Folder of WE metadata (data set 'wsol').")]
Split = Annotated[str, typer.Option(help="Split to train on: train, val or test.")]
Evaluate = Annotated[str | None, typer.Option(help="Split on which top-1 is measured at the end; 'none' for none.")]
Weights = Annotated[
    Path | None, typer.Option(help="File of weights to start from (safetensors, or plain torch; any published layout).")
]
Out = Annotated[Path, typer.Option("--out", help="File to write, ending in .safetensors.")]
Seed = Annotated[int, typer.Option(help="Seed of the parameters, order, dropout and augmentation.", min=0)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option(help="Decoding threads.", min=0)]
CacheMb = Annotated[int, typer.Option(help="Memory for cached features or decoded images, in MiB.", min=0)]
Limit = Annotated[int | None, typer.Option(help="Only the first N training images (a smoke run).", min=1)]
Plugin = Annotated[
    list[Path] | None, typer.Option("--plugin", help="Python file whose @register_… decorators run first.")
]
TensorBoard = Annotated[
    Path | None, typer.Option("--tensorboard", help="Folder of TensorBoard curves (needs the extra: tensorboard).")
]
