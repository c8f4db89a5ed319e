"""``cambench train backbone | head | keys``: networks and sigmoid branches from recipes, with their provenance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ..host.errors import UsageError
from ..training.request import TrainingRequest, changed, command_line
from .options import (
    BackboneName,
    CacheMb,
    DatasetName,
    Device,
    Evaluate,
    Limit,
    Metadata,
    Options,
    Out,
    Plugin,
    Root,
    Seed,
    Split,
    TensorBoard,
    Weights,
    Workers,
    dataset_options,
    load_plugins,
)

if TYPE_CHECKING:
    from ...baselines.contracts import Backbone

app = typer.Typer(
    help="Train a softmax network, or the sigmoid branch of one, from a recipe.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
out = Console(highlight=False)


@app.command()
def backbone(
    output: Out,
    recipe: Annotated[
        str, typer.Option(help="Shipped recipe (cub-resnet50, synthbirds, …) or a YAML file; auto: the paper's own.")
    ] = "auto",
    backbone: Annotated[str, typer.Option(help="Network; default: the recipe's.")] = "",
    dataset: Annotated[str, typer.Option(help="Data set; default: the recipe's.")] = "",
    root: Root = None,
    metadata: Metadata = None,
    option: Options = None,
    split: Split = "train",
    evaluate: Evaluate = "test",
    weights: Weights = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Parts of a batch, one after the other (gradient accumulation).", min=1)
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16 (mixed precision).")] = None,
    save_minutes: Annotated[float, typer.Option(help="Time between resumable states within an epoch.", min=0)] = 10,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = 2,
    cache_mb: CacheMb = 1024,
    limit: Limit = None,
    tensorboard: TensorBoard = None,
    plugin: Plugin = None,
) -> None:
    """Train a softmax network. Interrupted, the same command continues where it last saved.

    Examples, the paper's ResNet-50 on CUB, on eight GPUs, and the shipped Slim ResNet:

        cambench train backbone --recipe cub-resnet50 --root ~/data/CUB_200_2011 --out FILE.safetensors

        torchrun --nproc-per-node 8 -m cambench train backbone --recipe imagenet-vgg16_gap --root … --out …

        cambench train backbone --backbone slim_resnet --dataset synthbirds --recipe synthbirds --out FILE.safetensors
    """
    from ..training.backbone import open_for_training, train_backbone
    from ..training.checkpoint import save_network
    from ..training.fabric import open_fabric
    from ..training.guard import TrainingDivergedError
    from ..training.log import TrainingLog
    from ..training.recipe import BackboneRecipe
    from ..training.recipe_files import backbone_recipe_name, load_recipe

    if recipe == "auto":
        if not (backbone and dataset):
            raise UsageError("give --recipe NAME, or --backbone and --dataset for the paper's own recipe")
        recipe = backbone_recipe_name(dataset, backbone)
    chosen = changed(load_recipe(BackboneRecipe, recipe), accumulate=accumulate, dtype=dtype)
    backbone, dataset = backbone or chosen.network, dataset or chosen.dataset
    for flag, value in (("--backbone", backbone), ("--dataset", dataset)):
        if not value:
            raise UsageError(f"recipe {recipe} is for any {flag.strip('-')}: give {flag}")
    request = TrainingRequest(output, dataset, root, dataset_options(option, metadata), split, evaluate, limit, device)
    load_plugins(plugin)
    tables = request.tables()
    fabric = open_fabric(request.device, chosen.dtype)
    log = TrainingLog(tensorboard if fabric.is_global_zero else None)
    network = open_for_training(backbone, tables[0].num_classes, chosen, weights, seed)
    if fabric.is_global_zero:
        _say_weights(network, weights)
    state_file = output.with_suffix(".training")
    try:
        record = train_backbone(
            network,
            tables[0],
            chosen,
            request.device,
            True,
            seed=seed,
            state_file=state_file,
            save_seconds=60 * save_minutes,
            evaluate=tables[1:],
            cache_bytes=cache_mb << 20,
            workers=workers,
            epoch_done=_say_epoch,
            fabric=fabric,
            log=log,
        )
    except TrainingDivergedError as error:
        raise _with_note(error, f"the last good state is in {state_file}" if state_file.exists() else "") from None
    if not fabric.is_global_zero:
        return
    command = command_line(
        "backbone",
        backbone=backbone,
        dataset=dataset,
        recipe=recipe,
        split=split,
        accumulate=accumulate,
        dtype=dtype,
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
    if record.losses:
        rate = f"{record.images_per_second:.1f} images/s, peak memory {record.peak_memory_mib:,.0f} MiB"
        out.print(f"{len(record.losses)} epochs, {record.seconds:.0f} s, {rate}, last loss {record.losses[-1]:.4f}")
    else:
        out.print(f"nothing was trained (recipe {recipe}): {record.weights} as they are")
    out.print(f"wrote {output}", soft_wrap=True)


@app.command()
def head(
    backbone: BackboneName,
    dataset: DatasetName,
    output: Out,
    recipe: Annotated[
        str, typer.Option(help="Shipped recipe (paper, paper-augmented, paper-resnet50, synthbirds) or a YAML file.")
    ] = "auto",
    branch: Annotated[
        str, typer.Option(help="sigmoid (Eq. 12), softmax or semantic (TS-CAM's head; cross entropy).")
    ] = "sigmoid",
    root: Root = None,
    metadata: Metadata = None,
    option: Options = None,
    split: Split = "train",
    evaluate: Evaluate = "test",
    each_epoch: Annotated[
        bool, typer.Option("--each-epoch", help="Measure top-1 of both heads after every epoch.")
    ] = False,
    weights: Weights = None,
    softmax_weights: Annotated[
        Path | None, typer.Option(help="Softmax head of this data set, written by --branch softmax.")
    ] = None,
    pass_batch: Annotated[int, typer.Option(help="Images a batch of the frozen network's one pass.", min=1)] = 32,
    seed: Seed = 0,
    device: Device = "auto",
    workers: Workers = 2,
    cache_mb: CacheMb = 1024,
    limit: Limit = None,
    tensorboard: TensorBoard = None,
    plugin: Plugin = None,
) -> None:
    """Train the sigmoid branch on a frozen network (or a new softmax head); nothing else changes.

    Example:

        cambench train head --backbone slim_resnet --dataset synthbirds --out slim_resnet.sigmoid.safetensors

    Both heads of a network with classes of its own on new data, and a run with them:

        cambench train head --backbone NET --dataset cub --root DIR --branch softmax --out a.safetensors

        cambench train head --backbone NET --dataset cub --root DIR --softmax-weights a.safetensors --out b.safetensors

        cambench run --dataset cub --root DIR --triples 'NET/gradcam/*' --softmax-weights a.safetensors
        --head-weights b.safetensors --out runs/cub
    """
    from ...baselines.backbones import open_backbone
    from ..training.checkpoint import save_tensors
    from ..training.guard import TrainingDivergedError
    from ..training.head import load_head, save_head, train_head
    from ..training.log import TrainingLog
    from ..training.recipe import HeadRecipe
    from ..training.recipe_files import auto_recipe, load_recipe

    request = TrainingRequest(output, dataset, root, dataset_options(option, metadata), split, evaluate, limit, device)
    if branch not in ("sigmoid", "softmax", "semantic"):
        raise UsageError(f"branch {branch!r}: expected sigmoid, softmax or semantic")
    load_plugins(plugin)
    chosen = load_recipe(HeadRecipe, auto_recipe(dataset) if recipe == "auto" else recipe)
    log = TrainingLog(tensorboard)
    tables = request.tables()
    if each_epoch and len(tables) == 1:
        raise UsageError("--each-epoch needs a split to measure on: give --evaluate")
    network = open_backbone(backbone, weights=weights)
    _say_weights(network, weights)
    if softmax_weights is not None:
        load_head(softmax_weights, network, "softmax")
    if branch != "softmax" and network.needs_training:
        raise UsageError(
            f"{backbone} has no trained weights: give --weights FILE, or train it with `cambench train backbone`"
        )
    state_file = output.with_suffix(".training")
    try:
        record = train_head(
            network,
            tables[0],
            chosen,
            branch,  # type: ignore[arg-type]
            request.device,
            True,
            seed=seed,
            evaluate=tables[1] if len(tables) > 1 else None,
            each_epoch=each_epoch,
            cache_bytes=cache_mb << 20,
            workers=workers,
            pass_batch=pass_batch,
            state_file=state_file,
            log=log,
        )
    except TrainingDivergedError as error:
        kept = output.with_suffix(".last-good.safetensors")
        if error.good_epochs:
            save_tensors(kept, error.state, {"completed_epochs": str(error.good_epochs)})
        raise _with_note(error, f"the last good state is in {kept}" if error.good_epochs else "") from None
    save_head(output, network.head(branch), branch, record.model_dump(mode="json"))  # type: ignore[arg-type]
    state_file.unlink(missing_ok=True)
    for epoch, found in enumerate(record.epoch_top1):
        shown = ", ".join(f"{name} {value:.2f} %" for name, value in found.items())
        out.print(f"epoch {epoch + 1}: loss {record.losses[epoch]:.4f}, top-1 on {evaluate}: {shown}")
    for name, accuracy in (record.eval_top1 or record.train_top1).items():
        out.print(f"top-1 of the {name} head on {dataset} {evaluate if record.eval_top1 else split}: {accuracy:.2f} %")
    passes = f"{record.backbone_passes} backbone pass{'es' if record.backbone_passes > 1 else ''}"
    out.print(f"{len(record.losses)} epochs, {passes}, {record.seconds:.0f} s, last loss {record.losses[-1]:.4f}")
    out.print(f"wrote {output}", soft_wrap=True)


@app.command()
def keys(
    file: Annotated[Path, typer.Argument(help="Checkpoint (safetensors, or plain torch).")],
    backbone: BackboneName,
    everything: Annotated[bool, typer.Option("--all", help="Every key, not the counts alone.")] = False,
) -> None:
    """Say what becomes of every key of a published checkpoint: used, unused and why, missing.

    Exit codes: 0 the file fits the network, 1 it does not.

    Example:

        cambench train keys last_checkpoint.pth.tar --backbone vgg16_gap --all
    """
    from ...baselines.backbones import account_of

    account = account_of(backbone, file)
    out.print(account.text() if everything else account.summary(), soft_wrap=True, markup=False)
    if account.refused:
        raise typer.Exit(1)


def _say_weights(network: Backbone, file: Path | None) -> None:
    """Where the parameters come from, whether the head is new; of a published layout, what became of its keys."""
    from ...baselines.backbones import account_of, layout_of

    new = f"; the softmax head of {network.num_classes} classes is new" if network.needs_training else ""
    source = "fresh parameters" if network.weights_source == "untrained" else f"weights from {network.weights_source}"
    out.print(f"{network.name}: {source}{new}", soft_wrap=True, markup=False)
    if file is not None and layout_of(network.name) is not None:
        account = account_of(network.name, file)
        if account.unused or account.missing or account.notes:
            out.print(account.summary(), soft_wrap=True, markup=False)


def _say_epoch(epoch: int, loss: float, accuracy: float) -> None:
    out.print(f"epoch {epoch + 1}: loss {loss:.4f}, top-1 {accuracy:.1f} % (augmented training images)")


def _with_note(error: Exception, note: str) -> Exception:
    if note:
        error.args = (f"{error}; {note}",)
    return error
