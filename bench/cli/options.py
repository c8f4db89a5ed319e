"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...registry import load_plugin
from ..host.errors import UsageError

BackboneName = Annotated[str, typer.Option(help="Network: see 'cambench ls backbones'; any timm model as timm:NAME.")]
DatasetName = Annotated[str, typer.Option(help="Data set: see 'cambench ls datasets'.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the data set, as you have it on disk.")]
Metadata = Annotated[Path | None, typer.Option(help="Folder of WE metadata (data set 'wsol').")]
Options = Annotated[list[str] | None, typer.Option("--option", help="Data-set option key=value; may be repeated.")]
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


def load_plugins(files: list[Path] | None) -> None:
    """Run the files of ``--plugin``, so that what they register is there; raises as ``load_plugin``."""
    for file in files or []:
        load_plugin(file)


def dataset_options(pairs: list[str] | None, metadata: Path | None) -> dict[str, str]:
    """Options of a data set from ``--option key=value`` and ``--metadata``, which wins; UsageError for another form."""
    found: dict[str, str] = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--option {pair!r}: expected key=value")
        found[key] = value
    if metadata is not None:
        found["metadata"] = str(metadata)
    return found


def named_files(values: list[str] | None) -> dict[str, Path]:
    """Files by name from ``NAME=FILE``; a bare ``FILE`` goes by the name ``*``."""
    files: dict[str, Path] = {}
    for value in values or []:
        name, equals, file = value.partition("=")
        files[name if equals else "*"] = Path(file if equals else value)
    return files
