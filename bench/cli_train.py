"""``cambench train backbone | head``: networks and sigmoid branches from recipes, with their provenance."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from .errors import UsageError

if TYPE_CHECKING:
    from ..datasets.schema import SampleTable

app = typer.Typer(
    help="Train a softmax network, or the sigmoid branch of one, from a recipe.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)

BackboneName = Annotated[str, typer.Option(help="Network: see 'cambench ls backbones'; any timm model as timm:NAME.")]
DatasetName = Annotated[str, typer.Option(help="Data set: see 'cambench ls datasets'.")]
Root = Annotated[Path | None, typer.Option(help="Folder of the data set, as you have it on disk.")]
Metadata = Annotated[Path | None, typer.Option(help="Folder of WE metadata (data set 'wsol').")]
Split = Annotated[str, typer.Option(help="Split to train on: train, val or test.")]
Evaluate = Annotated[str | None, typer.Option(help="Split on which top-1 is measured at the end; 'none' for none.")]
Weights = Annotated[Path | None, typer.Option(help="File of weights to start from (safetensors, or plain torch).")]
Out = Annotated[Path, typer.Option("--out", help="File to write, ending in .safetensors.")]
Seed = Annotated[int, typer.Option(help="Seed of the parameters, order, dropout and augmentation.", min=0)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Workers = Annotated[int, typer.Option(help="Decoding threads.", min=0)]
CacheMb = Annotated[int, typer.Option(help="Memory for cached features or decoded images, in MiB.", min=0)]
Limit = Annotated[int | None, typer.Option(help="Only the first N training images (a smoke run).", min=1)]
Plugin = Annotated[
    list[Path] | None, typer.Option("--plugin", help="Python file whose @register_… decorators run first.")
]


@app.command()
def backbone(
    backbone: BackboneName,
    dataset: DatasetName,
    recipe: Annotated[str, typer.Option(help="Shipped recipe, such as synthbirds, or a YAML file.")],
    output: Out,
    root: Root = None,
    metadata: Metadata = None,
    split: Split = "train",
    evaluate: Evaluate = "test",
    weights: Weights = None,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = 2,
    cache_mb: CacheMb = 1024,
    limit: Limit = None,
    plugin: Plugin = None,
) -> None:
    """Train a softmax network. Interrupted, the same command continues with the last finished epoch.

    Example, the shipped Slim ResNet:

        cambench train backbone --backbone slim_resnet --dataset synthbirds --recipe synthbirds --out FILE.safetensors
    """
    from .recipe import BackboneRecipe
    from .recipe_files import load_recipe
    from .training_backbone import open_for_training, train_backbone
    from .training_checkpoint import save_network
    from .training_guard import TrainingDivergedError

    _check_output(output)
    _plugins(plugin)
    chosen = load_recipe(BackboneRecipe, recipe)
    where = _device(device)
    tables = _tables(dataset, root, metadata, split, evaluate, limit)
    network = open_for_training(backbone, tables[0].num_classes, chosen, weights, seed)
    state_file = output.with_suffix(".training")
    try:
        record = train_backbone(
            network,
            tables[0],
            chosen,
            where,
            True,
            seed=seed,
            state_file=state_file,
            evaluate=tables[1:],
            cache_bytes=cache_mb << 20,
            workers=workers,
            epoch_done=_say_epoch,
        )
    except TrainingDivergedError as error:
        raise _with_note(error, f"the last good state is in {state_file}" if error.good_epochs else "") from None
    command = _command(
        "backbone",
        backbone=backbone,
        dataset=dataset,
        recipe=recipe,
        split=split,
        limit=limit,
        seed=seed,
        out=output.name,
    )
    facts = {"command": command, "seed": str(seed), "data_fingerprint": record.data_fingerprint}
    save_network(
        output,
        network,
        {**facts, "accuracy": record.eval_top1, "versions": record.versions, "record": record.model_dump(mode="json")},
    )
    state_file.unlink(missing_ok=True)
    for name, accuracy in record.eval_top1.items():
        out.print(f"top-1 on {dataset} {name}: {accuracy:.2f} %")
    out.print(f"{len(record.losses)} epochs, {record.seconds:.0f} s, last loss {record.losses[-1]:.4f}")
    out.print(f"wrote {output}", soft_wrap=True)


@app.command()
def head(
    backbone: BackboneName,
    dataset: DatasetName,
    output: Out,
    recipe: Annotated[
        str, typer.Option(help="Shipped recipe (paper, paper-augmented, synthbirds) or a YAML file.")
    ] = "auto",
    branch: Annotated[str, typer.Option(help="sigmoid (Eq. 12), or softmax (cross entropy).")] = "sigmoid",
    root: Root = None,
    metadata: Metadata = None,
    split: Split = "train",
    evaluate: Evaluate = "test",
    weights: Weights = None,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = 2,
    cache_mb: CacheMb = 1024,
    limit: Limit = None,
    plugin: Plugin = None,
) -> None:
    """Train the sigmoid branch on a frozen network (or a new softmax head); nothing else changes.

    Example:

        cambench train head --backbone slim_resnet --dataset synthbirds --out slim_resnet.sigmoid.safetensors
    """
    from ..baselines.open import open_backbone
    from .recipe import HeadRecipe
    from .recipe_files import auto_recipe, load_recipe
    from .training import TrainingDivergedError, save_head, train_head

    _check_output(output)
    if branch not in ("sigmoid", "softmax"):
        raise UsageError(f"branch {branch!r}: expected sigmoid or softmax")
    _plugins(plugin)
    chosen = load_recipe(HeadRecipe, auto_recipe(dataset) if recipe == "auto" else recipe)
    where = _device(device)
    tables = _tables(dataset, root, metadata, split, evaluate, limit)
    network = open_backbone(backbone, weights=weights)
    if branch == "sigmoid" and network.needs_training:
        raise UsageError(
            f"{backbone} has no trained weights: give --weights FILE, or train it with `cambench train backbone`"
        )
    try:
        record = train_head(
            network,
            tables[0],
            chosen,
            branch,  # type: ignore[arg-type]
            where,
            True,
            seed=seed,
            evaluate=tables[1] if len(tables) > 1 else None,
            cache_bytes=cache_mb << 20,
            workers=workers,
        )
    except TrainingDivergedError as error:
        kept = output.with_suffix(".last-good.safetensors")
        if error.good_epochs:
            from .training_checkpoint import save_tensors

            save_tensors(kept, error.state, {"completed_epochs": str(error.good_epochs)})
        raise _with_note(error, f"the last good state is in {kept}" if error.good_epochs else "") from None
    save_head(output, network.head(branch), branch, record.model_dump(mode="json"))  # type: ignore[arg-type]
    for name, accuracy in (record.eval_top1 or record.train_top1).items():
        out.print(f"top-1 of the {name} head on {dataset} {evaluate if record.eval_top1 else split}: {accuracy:.2f} %")
    passes = f"{record.backbone_passes} backbone pass{'es' if record.backbone_passes > 1 else ''}"
    out.print(f"{len(record.losses)} epochs, {passes}, {record.seconds:.0f} s, last loss {record.losses[-1]:.4f}")
    out.print(f"wrote {output}", soft_wrap=True)


def _check_output(output: Path) -> None:
    if output.suffix != ".safetensors":
        raise UsageError(f"--out {output}: expected a name ending in .safetensors")
    if output.exists():
        raise UsageError(f"--out {output} exists; delete it, or choose another name")


def _plugins(files: list[Path] | None) -> None:
    from ..registry import load_plugin

    for file in files or []:
        load_plugin(file)


def _device(name: str) -> str:
    from .config import pick_device

    return pick_device(name)


def _tables(
    dataset: str, root: Path | None, metadata: Path | None, split: str, evaluate: str | None, limit: int | None
) -> tuple[SampleTable, ...]:
    """The training split, and the evaluation split where there is one."""
    from ..datasets.open import open_table

    options: dict[str, Any] = {"metadata": str(metadata)} if metadata else {}
    tables = (open_table(dataset, root, split, **options).head(limit),)
    if evaluate in (None, "none", split):
        return tables
    return (*tables, open_table(dataset, root, str(evaluate), **options))


def _say_epoch(epoch: int, loss: float, accuracy: float) -> None:
    out.print(f"epoch {epoch + 1}: loss {loss:.4f}, top-1 {accuracy:.1f} % (augmented training images)")


def _with_note(error: Exception, note: str) -> Exception:
    if note:
        error.args = (f"{error}; {note}",)
    return error


def _command(verb: str, **options: Any) -> str:
    """The command that does it again; files by name only, so that no path of this machine is written down."""
    parts = ["cambench", "train", verb]
    for name, value in options.items():
        if value is not None:
            parts += [f"--{name}", str(value)]
    return shlex.join(parts)


def read_provenance(file: Path) -> dict[str, Any]:
    """Metadata of a trained network or head: command, seed, accuracy, data fingerprint, versions, record."""
    from ..baselines.weights_io import load_metadata

    found: dict[str, Any] = {}
    for key, value in load_metadata(file).items():
        found[key] = json.loads(value) if value[:1] in "{[" else value
    return found
