"""Training of a softmax network: features and softmax head, from a recipe, resumable to the bit on the CPU."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from ..baselines.base import Backbone
from ..baselines.open import open_backbone
from ..baselines.weights_io import weights_digest
from ..datasets.schema import SampleTable
from .errors import RunError, UsageError
from .progress import Bar
from .progress import progress as progress_bar
from .recipe import BackboneRecipe
from .training import TrainingDivergedError, top1
from .training_augment import augment_batch
from .training_checkpoint import load_training, network_tensors, save_training, versions
from .training_data import DEFAULT_CACHE_BYTES, ImageSource, checked_labels
from .training_optim import build_optimiser, epoch_order, rate_factor, rng_devices, seed_step, set_rate

EpochDone = Callable[[int, float, float], None]

CHECK_EVERY = 25
"""Steps between looks at the loss (each waits for the device)."""


class BackboneTrainingRecord(BaseModel):
    """How a network was trained. Losses in nats per epoch, ``train_top1`` percent per epoch on augmented images,
    ``eval_top1`` percent per evaluated split, ``seconds`` of wall time over all parts of a resumed training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    backbone: str
    num_classes: int
    dataset: str
    split: str
    data_fingerprint: str
    images: int
    failures: tuple[str, ...]
    recipe: dict[str, Any]
    recipe_digest: str
    seed: int
    losses: tuple[float, ...]
    train_top1: tuple[float, ...]
    eval_top1: dict[str, float]
    eval_fingerprints: dict[str, str]
    seconds: float
    device: str
    versions: dict[str, str]


@dataclass
class _Trainer:
    """One training under way; ``state`` and ``restore`` hold all of it between two epochs."""

    backbone: Backbone
    images: ImageSource
    labels: Tensor
    recipe: BackboneRecipe
    seed: int
    device: torch.device
    optimiser: torch.optim.Optimizer
    losses: list[float]
    accuracies: list[float]
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        return {
            "network": network_tensors(self.backbone),
            "optimiser": self.optimiser.state_dict(),
            "losses": self.losses,
            "accuracies": self.accuracies,
            "seconds": self.seconds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.backbone.load_state_dict(state["network"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.losses, self.accuracies, self.seconds = state["losses"], state["accuracies"], state["seconds"]

    @property
    def steps(self) -> int:
        """Steps an epoch: whole batches only, except where there is only one."""
        return max(len(self.images.table) // self.recipe.batch_size, 1)

    def epoch(self, epoch: int, bar: Bar | None) -> None:
        """One epoch; TrainingDivergedError leaves the parameters as they are (the caller has the last good ones)."""
        recipe, size = self.recipe, self.recipe.batch_size
        order = epoch_order(len(self.images.table), self.seed, epoch)[: self.steps * size]
        self.backbone.train()
        losses, hits, seen = [], torch.zeros((), dtype=torch.int64, device=self.device), 0
        for offset, (images, rows) in enumerate(self.images.batches(order, size)):
            step = epoch * self.steps + offset
            set_rate(self.optimiser, rate_factor(recipe.schedule, step, self.steps, recipe.epochs))
            seed_step(self.seed, step)
            loss, correct = self._step(images, self.labels[rows.to(self.device)], recipe.side(epoch))
            losses.append(loss)
            hits += correct
            seen += len(rows)
            if bar is not None:
                bar.advance(len(rows), f"epoch {epoch + 1}/{recipe.epochs}")
            if len(losses) % CHECK_EVERY == 0:
                self._check(losses, epoch)
        if not losses:
            table = self.images.table
            raise RunError(f"{table.name} {table.split}: none of the {len(table)} images could be decoded")
        self._check(losses, epoch)
        self.losses.append(float(torch.stack(losses).double().mean()))
        self.accuracies.append(100.0 * int(hits) / seen)

    def _step(self, images: Tensor, labels: Tensor, side: int) -> tuple[Tensor, Tensor]:
        recipe = self.recipe
        pixels = augment_batch(images.to(self.device, non_blocking=True), recipe.augment, recipe.size, side)
        inputs = self.backbone.normalise(pixels)
        if recipe.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        low = torch.autocast(self.device.type, torch.bfloat16, enabled=recipe.dtype == "bfloat16")
        with low:
            logits = self.backbone(inputs)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        return loss.detach(), (logits.detach().argmax(1) == labels).sum()

    def _check(self, losses: list[Tensor], epoch: int) -> None:
        recent = losses[-CHECK_EVERY:]
        bad = torch.nonzero(~torch.isfinite(torch.stack(recent))).flatten()
        if len(bad):
            step = len(losses) - len(recent) + int(bad[0])
            raise TrainingDivergedError(f"{self.backbone.name} on {self.images.table.name}", epoch, step, {}, epoch)


def train_backbone(
    backbone: Backbone,
    table: SampleTable,
    recipe: BackboneRecipe,
    device: str | torch.device = "cpu",
    progress: bool = False,
    *,
    seed: int = 0,
    state_file: Path | None = None,
    evaluate: tuple[SampleTable, ...] = (),
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    workers: int = 2,
    epoch_done: EpochDone | None = None,
) -> BackboneTrainingRecord:
    """Train every parameter of the softmax network (cross entropy); the sigmoid branch, if any, is dropped.

    The state after each epoch goes to ``state_file``; where that file holds an earlier state of this very training, it
    continues there, on the CPU with the same result to the bit. Random numbers depend on the seed and the step alone.

    Args:
        backbone: Network with the table's classes, initialised; moved to ``device``, frozen at the end.
        table: Training split.
        recipe: Everything that shapes the training.
        device: Where to compute.
        progress: Show a bar (a few lines where there is no terminal).
        seed: Seed of the order of the images, dropout and augmentation (not of the initial parameters).
        state_file: Resumable state, written after each epoch; removed by the caller once the result is safe.
        evaluate: Splits on which top-1 is measured at the end.
        cache_bytes: Budget in bytes for decoded images in memory; beyond it they are decoded each epoch.
        workers: Decoding threads.
        epoch_done: Called with (epoch from 0, mean loss, top-1 percent) after the state of an epoch is written.

    Raises:
        TrainingDivergedError: The loss is NaN or infinite; ``backbone`` holds the last good parameters.
        UsageError: Class counts differ, or ``state_file`` belongs to another training.
        RunError: The table is empty, or no image could be decoded.
    """
    device = torch.device(device)
    if table.num_classes != backbone.num_classes:
        raise UsageError(
            f"{backbone.name} was built for {backbone.num_classes} classes, {table.name} has {table.num_classes}"
        )
    labels = checked_labels(table, backbone.num_classes).to(device)
    if "sigmoid" in backbone.heads:
        del backbone.heads["sigmoid"]
    backbone.to(device).requires_grad_(True)
    if recipe.channels_last:
        _channels_last(backbone)
    head = {id(p) for p in backbone.head("softmax").parameters()}
    body = [p for p in backbone.parameters() if id(p) not in head]
    groups = [(body, 1.0), (backbone.head("softmax").parameters(), recipe.head_lr_factor)]
    images = ImageSource(table, recipe.augment.load_size if recipe.augment else recipe.size, workers, cache_bytes)
    optimiser = build_optimiser(recipe.optimiser, groups)
    trainer = _Trainer(backbone, images, labels, recipe, seed, device, optimiser, [], [])
    key = _key(backbone, table, recipe, seed)
    state = load_training(state_file, key) if state_file is not None else None
    if state is not None:
        trainer.restore(state)
    good = _copy(backbone)
    begun = len(trainer.losses)
    title = f"{backbone.name} on {table.name}"
    total = (recipe.epochs - begun) * min(trainer.steps * recipe.batch_size, len(table))
    with (
        torch.random.fork_rng(devices=rng_devices(device)),
        progress_bar(title, total) if progress else nullcontext() as bar,
    ):
        for epoch in range(begun, recipe.epochs):
            start = time.perf_counter()
            try:
                trainer.epoch(epoch, bar)
            except TrainingDivergedError as error:
                backbone.load_state_dict(good)
                backbone.freeze()
                error.state = good
                raise
            good = _copy(backbone)
            trainer.seconds += time.perf_counter() - start
            if state_file is not None:
                save_training(state_file, key, trainer.state())
            if epoch_done is not None:
                epoch_done(epoch, trainer.losses[-1], trainer.accuracies[-1])
    backbone.needs_training = False
    backbone.freeze()
    return BackboneTrainingRecord(
        backbone=backbone.name,
        num_classes=backbone.num_classes,
        dataset=table.name,
        split=table.split,
        data_fingerprint=table.fingerprint,
        images=len(table) - len(images.failures),
        failures=tuple(f.image_id for _, f in sorted(images.failures.items())),
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        seed=seed,
        losses=tuple(trainer.losses),
        train_top1=tuple(trainer.accuracies),
        eval_top1={t.split: top1(backbone, t, recipe.size, device, workers)["softmax"] for t in evaluate},
        eval_fingerprints={t.split: t.fingerprint for t in evaluate},
        seconds=trainer.seconds,
        device=str(device),
        versions=versions(),
    )


def open_for_training(name: str, num_classes: int, recipe: BackboneRecipe, weights: Path | None, seed: int) -> Backbone:
    """A network with ``num_classes`` classes and its first parameters: a file's, the shipped ones, or random ones.

    Raises:
        UnknownNameError, WeightsError: No such network; weights that do not fit.
    """
    backbone = open_backbone(name, num_classes, weights, pretrained=recipe.init == "pretrained", seed=seed)
    if recipe.body_from:
        _copy_body(open_backbone(recipe.body_from), backbone)
    return backbone


def _copy_body(source: Backbone, target: Backbone) -> None:
    """Copy what agrees in name and shape outside the heads; UsageError where nothing does."""
    given, wanted = source.state_dict(), target.state_dict()
    shared = {
        k: v for k, v in given.items() if not k.startswith("heads.") and k in wanted and wanted[k].shape == v.shape
    }
    if not shared:
        raise UsageError(f"recipe: body_from {source.name}: no parameter of it fits {target.name}")
    target.load_state_dict(shared, strict=False)


def _key(backbone: Backbone, table: SampleTable, recipe: BackboneRecipe, seed: int) -> str:
    """What must agree for a training to continue: network with its first parameters, data, recipe, seed, torch."""
    first = weights_digest(network_tensors(backbone))
    facts = [backbone.name, first, table.fingerprint, recipe.digest, seed, torch.__version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _copy(backbone: Backbone) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in backbone.state_dict().items()}


def _channels_last(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
