"""``cambench train backbone | head | keys``: networks and sigmoid branches from recipes, with their provenance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...consoles import out, say_written
from ..host.errors import UsageError
from ..training.recipe_choice import with_recipe
from ..training.recipes.recipe import HeadRecipe
from ..training.recipes.recipe_files import auto_recipe, load_recipe
from ..training.request import REQUEST, HeadTraining, NetworkOptions, NetworkTraining, TrainingRequest, command_line
from .options import command, load_plugins
from .verbs import Verb

if TYPE_CHECKING:
    from ...baselines.contracts import Backbone

app = typer.Typer(
    help="Train a softmax network, or the sigmoid branch of one, from a recipe.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
REPEATED = ("backbone", "dataset", "recipe", "method", "split", "accumulate", "dtype", "limit", "seed")
"""Options that the command in a network's file repeats."""


@app.command(cls=Verb)
@command(NetworkTraining)
def backbone(request: NetworkTraining) -> None:
    """Train a softmax network. Interrupted, the same command continues where it last saved.

    Examples, the paper's ResNet-50 on CUB, on eight GPUs, and the shipped Slim ResNet:

        cambench train backbone --recipe cub-resnet50 --root ~/data/CUB_200_2011 --out FILE.safetensors

        torchrun --nproc-per-node 8 -m cambench train backbone --recipe imagenet-vgg16_gap --root … --out …

        cambench train backbone --backbone slim_resnet --dataset synthbirds --recipe synthbirds --out FILE.safetensors

    With a method for weakly supervised localisation (cambench ls wsol), which the network's name then ends in:

        cambench train backbone --method adl --recipe cub-vgg16_gap --root ~/data/CUB_200_2011 --out FILE.safetensors
    """
    if _is_finished(request):
        return
    asked = request.digest
    request, chosen = with_recipe(request)
    request.check()
    from ..training.backbone import open_for_training, train_backbone
    from ..training.checkpoint import save_network
    from ..training.steps.fabric import open_fabric
    from ..training.steps.guard import TrainingDivergedError
    from ..training.steps.log import TrainingLog

    where = request.where
    load_plugins(request.plugins)
    tables = request.tables()
    fabric = open_fabric(where, chosen.dtype)
    log = TrainingLog(request.tensorboard if fabric.is_global_zero else None)
    network = open_for_training(request.backbone, tables[0].num_classes, chosen, request.weights, request.seed)
    if fabric.is_global_zero:
        _say_weights(network, request.weights)
    try:
        record = train_backbone(
            network,
            tables[0],
            chosen,
            request.means(save_seconds=60 * request.save_minutes, fabric=fabric, log=log),
            seed=request.seed,
            evaluate=tables[1:],
            epoch_done=_say_epoch,
        )
    except TrainingDivergedError as error:
        kept = request.state_file
        raise _with_note(error, f"the last good state is in {kept}" if kept.exists() else "") from None
    if not fabric.is_global_zero:
        return
    same = {name: getattr(request, name) for name in REPEATED}
    command = command_line("backbone", **same, out=request.out.name)
    facts = {"command": command, "seed": str(request.seed), "data_fingerprint": record.data_fingerprint}
    save_network(
        request.out,
        network,
        {
            **facts,
            REQUEST: asked,
            "accuracy": record.eval_top1,
            "versions": record.versions,
            "record": record.model_dump(mode="json"),
        },
    )
    request.state_file.unlink(missing_ok=True)
    for name, accuracy in record.eval_top1.items():
        out.print(f"top-1 on {request.dataset} {name}: {accuracy:.2f} %")
    if record.losses:
        rate = f"{record.images_per_second:.1f} images/s, peak memory {record.peak_memory_mib:,.0f} MiB"
        out.print(f"{len(record.losses)} epochs, {record.seconds:.0f} s, {rate}, last loss {record.losses[-1]:.4f}")
    else:
        out.print(f"nothing was trained (recipe {request.recipe}): {record.weights} as they are")
    say_written([request.out])


@app.command(cls=Verb)
@command(HeadTraining)
def head(request: HeadTraining) -> None:
    """Train the sigmoid branch on a frozen network (or a new softmax head); nothing else changes.

    Example:

        cambench train head --backbone slim_resnet --dataset synthbirds --out slim_resnet.sigmoid.safetensors

    Both heads of a network with classes of its own on new data, and a run with them:

        cambench train head --backbone NET --dataset cub --root DIR --branch softmax --out a.safetensors

        cambench train head --backbone NET --dataset cub --root DIR --softmax-weights a.safetensors --out b.safetensors

        cambench run --dataset cub --root DIR --triples 'NET/gradcam/*' --softmax-weights a.safetensors
        --head-weights b.safetensors --out runs/cub
    """
    if _is_finished(request):
        return
    recipe = auto_recipe(request.dataset) if request.recipe == "auto" else request.recipe
    chosen = load_recipe(HeadRecipe, recipe)
    request.check()
    from ...baselines.backbones import open_backbone
    from ..training.checkpoint import load_head, save_tensors
    from ..training.head_into_file import head_into
    from ..training.steps.guard import TrainingDivergedError
    from ..training.steps.log import TrainingLog

    branch = request.branch
    load_plugins(request.plugins)
    means = request.means(pass_batch=request.pass_batch, log=TrainingLog(request.tensorboard))
    tables = request.tables()
    if request.each_epoch and len(tables) == 1:
        raise UsageError("--each-epoch needs a split to measure on: give --evaluate")
    network = open_backbone(request.backbone, weights=request.weights)
    _say_weights(network, request.weights)
    if request.softmax_weights is not None:
        load_head(request.softmax_weights, network, "softmax")
    if branch != "softmax" and network.needs_training:
        raise UsageError(
            f"{request.backbone} has no trained weights: give --weights FILE, or train it with "
            "`cambench train backbone`"
        )
    try:
        record, whence = head_into(request, network, tables, chosen, means)
    except TrainingDivergedError as error:
        kept = request.out.with_suffix(".last-good.safetensors")
        if error.good_epochs:
            save_tensors(kept, error.state, {"completed_epochs": str(error.good_epochs)})
        raise _with_note(error, f"the last good state is in {kept}" if error.good_epochs else "") from None
    if whence:
        out.print(f"nothing was trained: this very head is there ({whence}); --retrain trains it", soft_wrap=True)
    for epoch, found in enumerate(record.epoch_top1):
        shown = ", ".join(f"{name} {value:.2f} %" for name, value in found.items())
        out.print(f"epoch {epoch + 1}: loss {record.losses[epoch]:.4f}, top-1 on {request.evaluate}: {shown}")
    for name, accuracy in (record.eval_top1 or record.train_top1).items():
        split = request.evaluate if record.eval_top1 else request.split
        out.print(f"top-1 of the {name} head on {request.dataset} {split}: {accuracy:.2f} %")
    passes = f"{record.backbone_passes} backbone pass{'es' if record.backbone_passes > 1 else ''}"
    out.print(f"{len(record.losses)} epochs, {passes}, {record.seconds:.0f} s, last loss {record.losses[-1]:.4f}")
    say_written([request.out])


@app.command(cls=Verb)
@command(NetworkOptions)
def keys(
    request: NetworkOptions,
    file: Annotated[Path, typer.Argument(help="Checkpoint (safetensors, or plain torch).")],
    everything: Annotated[bool, typer.Option("--all", help="Every key, not the counts alone.")] = False,
) -> None:
    """Say what becomes of every key of a published checkpoint: used, unused and why, missing.

    Exit codes: 0 the file fits the network, 1 it does not.

    Example:

        cambench train keys last_checkpoint.pth.tar --backbone vgg16_gap --all
    """
    from ...baselines.backbones import account_of

    account = account_of(request.backbone, file)
    out.print(account.text() if everything else account.summary(), soft_wrap=True, markup=False)
    if account.refused:
        raise typer.Exit(1)


def _is_finished(request: TrainingRequest) -> bool:
    """Whether nothing is left to do; what a process that was killed after its last file left behind is removed."""
    if not request.finished:
        return False
    request.state_file.unlink(missing_ok=True)
    out.print(f"{request.out} holds this training, finished; nothing was trained", soft_wrap=True)
    return True


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
