"""Training of a softmax network: features and softmax head, from a recipe, resumable to the bit on the CPU."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

from ...baselines.backbones import open_backbone
from ...baselines.contracts import Backbone
from ...baselines.weights import weights_digest
from ...baselines.wsol import PLAIN, TAP, WsolError, WsolMethod, apply_method, apply_tap, make_method, split_name
from ...consoles import err as console
from ...datasets.schema import SampleTable
from ...progress import progress as progress_bar
from ...torch_state import float32_by, usual_torch
from ..host.allocator import keep_freed_memory
from ..host.device import peak_memory_mib
from ..host.dtypes import float32_kind
from ..host.errors import UsageError
from .checkpoint import load_training, network_tensors, save_training
from .images.image_source import ImageSource, checked_labels
from .means import PLAIN_MEANS, Means
from .recipes.optim import rng_devices, seed_layers
from .recipes.recipe import BackboneRecipe
from .record import BackboneTrainingRecord, common_facts
from .steps.fabric import open_fabric
from .steps.guard import TrainingDivergedError, snapshot
from .steps.log import TrainingLog
from .steps.loop import BackboneTrainer
from .top1 import top1

EpochDone = Callable[[int, float, float], None]


@usual_torch()
def train_backbone(
    backbone: Backbone,
    table: SampleTable,
    recipe: BackboneRecipe,
    means: Means = PLAIN_MEANS,
    *,
    seed: int = 0,
    evaluate: tuple[SampleTable, ...] = (),
    epoch_done: EpochDone | None = None,
    method: WsolMethod | None = None,
) -> BackboneTrainingRecord:
    """Train every parameter of the softmax network (cross entropy); the sigmoid branch, if any, is dropped.

    The state after each epoch, and at times within one, goes to the state file; where that file holds an earlier state
    of this very training, it continues there, on the CPU with the same result to the bit. Random numbers depend on the
    seed and the step alone. Several processes share each batch: the result is that of one process with as many parts.

    Args:
        backbone: Network with the table's classes, initialised; moved to the device, frozen at the end.
        table: Training split.
        recipe: Everything that shapes the training.
        means: Device or Fabric, memory, threads and files.
        seed: Seed of the order of the images, dropout and augmentation (not of the initial parameters).
        evaluate: Splits on which top-1 is measured at the end.
        epoch_done: Called with (epoch from 0, mean loss, top-1 percent) after the state of an epoch is written.
        method: What is minimised and changed; the recipe's if left out.

    Raises:
        TrainingDivergedError: The loss or a parameter is NaN or infinite; ``backbone`` holds the last good parameters.
        BatchMemoryError: The batch does not fit into the device's memory; says the largest that does.
        UsageError: Class counts differ, the state file belongs to another training, the batch cannot be shared, or the
            recipe trains nothing and the network has fresh parameters.
        RunError: The table is empty, no image could be decoded, or a state cannot be written.
    """
    keep_freed_memory()
    fabric, log = means.fabric or open_fabric(means.device, recipe.dtype), means.log or TrainingLog()
    state_file = means.state_file
    where, first = fabric.device, fabric.is_global_zero
    method = method or method_of(recipe)
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    if table.num_classes != backbone.num_classes:
        raise UsageError(
            f"{backbone.name} was built for {backbone.num_classes} classes, {table.name} has {table.num_classes}"
        )
    if not recipe.epochs and backbone.needs_training:
        raise UsageError(
            f"recipe {recipe.name} trains nothing, but {backbone.name} ({backbone.weights_source}) has parameters "
            f"without weights for the {table.num_classes} classes of {table.name}; choose a recipe that trains, or "
            "other weights"
        )
    labels = checked_labels(table, backbone.num_classes).to(where)
    _change(backbone, recipe, method, seed)
    backbone.to(where).requires_grad_(True)
    if recipe.channels_last:
        _channels_last(backbone)
    images = ImageSource(
        table, recipe.augment.load_size if recipe.augment else recipe.size, means.workers, means.cache_bytes
    )
    trainer = BackboneTrainer(backbone, images, labels, recipe, seed, method, fabric, log)
    key = _key(backbone, table, recipe, method, seed, trainer.parts.count)
    facts = common_facts(backbone, table, recipe, seed, {}, str(where))
    state = load_training(state_file, key) if state_file is not None else None
    fabric.barrier()
    if state is not None:
        trainer.restore(state)
        if means.progress and first:
            done = f"{len(trainer.losses)} of {recipe.epochs} epochs" + (
                f" and {trainer.offset} of {trainer.steps} steps" if trainer.offset else ""
            )
            console.print(f"{trainer.title}: goes on after {done} ({state_file})", markup=False, soft_wrap=True)
    keeper = _Keeper(trainer, state_file if first else None, key, json.dumps(facts), means.save_seconds)
    images.decode(means.progress and first)
    log.begin(len(trainer.losses) * trainer.steps + trainer.offset, recipe.model_dump_json())
    bar = (
        progress_bar(trainer.title, trainer.images_left, "image passes") if means.progress and first else nullcontext()
    )
    try:
        precise = float32_by(float32_kind(recipe.dtype))
        with torch.random.fork_rng(devices=rng_devices(where)), precise, bar as shown:
            for epoch in range(len(trainer.losses), recipe.epochs):
                trainer.epoch(shown, keeper.after_step)
                keeper.save()
                if epoch_done is not None and first:
                    epoch_done(epoch, trainer.losses[-1], trainer.accuracies[-1])
    except TrainingDivergedError as error:
        backbone.load_state_dict(keeper.good)
        backbone.freeze()
        error.state = keeper.good
        raise
    finally:
        log.close()
    memory = peak_memory_mib(where)
    backbone.needs_training = False
    backbone.freeze()
    everyone = [fabric.broadcast(images.failures, src=rank) for rank in range(fabric.world_size)]
    failures = {row: image for found in everyone for row, image in found.items()}
    return BackboneTrainingRecord(
        **common_facts(backbone, table, recipe, seed, failures, str(where)),
        losses=tuple(trainer.losses),
        train_top1=tuple(trainer.accuracies),
        eval_top1={t.split: top1(backbone, t, recipe.size, where, means.workers, fabric)["softmax"] for t in evaluate},
        eval_fingerprints={t.split: t.fingerprint for t in evaluate},
        seconds=trainer.seconds,
        parts=trainer.parts.count,
        processes=fabric.world_size,
        weights=backbone.weights_source,
        method=method.name,
        method_parameters=method.parameters_given,
        cam=method.cam,
        images_per_second=len(trainer.losses) * trainer.steps * trainer.batch / max(trainer.seconds, 1e-9),
        peak_memory_mib=memory,
    )


class _Keeper:
    """Keeps the last good state, in memory and in the state file."""

    def __init__(self, trainer: BackboneTrainer, file: Path | None, key: str, facts: str, seconds: float) -> None:
        self._trainer, self._file, self._key, self._facts, self._seconds = trainer, file, key, facts, seconds
        self.good = snapshot(trainer.backbone)
        self._saved = time.monotonic()

    def after_step(self) -> None:
        """Save where that is due."""
        if self._file is not None and time.monotonic() - self._saved >= self._seconds:
            self._trainer.check(parameters=True)
            self.save()

    def save(self) -> None:
        """Save a state that was checked."""
        self.good = snapshot(self._trainer.backbone)
        state = self._trainer.state()
        if self._file is not None:
            save_training(self._file, self._key, {"facts": self._facts, **state})
        self._saved = time.monotonic()


def open_for_training(name: str, num_classes: int, recipe: BackboneRecipe, weights: Path | None, seed: int) -> Backbone:
    """A network with ``num_classes`` classes and its first parameters: a file's, the shipped ones, or random ones.

    Weights of another class count start the body; the softmax head is then fresh.

    Raises:
        UnknownNameError, WeightsError: No such network; weights that do not fit.
    """
    base, method = split_name(name)
    if method not in (PLAIN, recipe.method_name):
        raise UsageError(f"{name}: the recipe {recipe.name} trains with the method {recipe.method_name}; give --method")
    if base.endswith(f"+{TAP}") and recipe.pooling.kind != TAP:
        raise UsageError(f"{name}: the recipe {recipe.name} pools by the mean; write pooling: {{kind: tap}} in it")
    backbone = open_backbone(
        base, num_classes, weights, pretrained=recipe.init == "pretrained", seed=seed, new_head=True
    )
    if recipe.body_from:
        _copy_body(open_backbone(recipe.body_from), backbone)
    return backbone


def _change(backbone: Backbone, recipe: BackboneRecipe, method: WsolMethod, seed: int) -> None:
    """Make ``backbone`` what the recipe's pooling and the method train; what they add starts by ``seed`` alone."""
    try:
        with torch.random.fork_rng(devices=[]):
            seed_layers(seed)
            if recipe.pooling.kind == TAP:
                apply_tap(backbone, recipe.pooling.threshold)
            apply_method(backbone, method)
    except WsolError as error:
        raise UsageError(str(error)) from None


def _copy_body(source: Backbone, target: Backbone) -> None:
    """Copy what agrees in name and shape outside the heads; UsageError where nothing does."""
    given, wanted = source.state_dict(), target.state_dict()
    shared = {
        k: v for k, v in given.items() if not k.startswith("heads.") and k in wanted and wanted[k].shape == v.shape
    }
    if not shared:
        raise UsageError(f"recipe: body_from {source.name}: no parameter of it fits {target.name}")
    target.load_state_dict(shared, strict=False)


def method_of(recipe: BackboneRecipe) -> WsolMethod:
    """The method that a recipe names; UsageError where its parameters are none of its own, or out of range."""
    try:
        return make_method(recipe.method, recipe.label_smoothing)
    except WsolError as error:
        raise UsageError(f"recipe {recipe.name}: {error}") from None


def _key(
    backbone: Backbone, table: SampleTable, recipe: BackboneRecipe, method: WsolMethod, seed: int, parts: int
) -> str:
    """What must agree for a training to continue: network, its first parameters, data, recipe, method, seed, torch."""
    first = weights_digest(network_tensors(backbone))
    way = [method.name, method.model_dump(mode="json")]
    facts = [backbone.name, first, table.fingerprint, recipe.digest, way, seed, parts, torch.__version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _channels_last(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
