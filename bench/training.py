"""Training of one branch's head on a frozen backbone (SEMANTICS §1, *Beyond Softmax* §3.3)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ..baselines.base import Backbone, Branch, Head
from ..datasets.schema import SampleTable
from .errors import RunError, UsageError
from .feature_cache import PASS_BATCH, FeatureSource
from .progress import progress as progress_bar
from .recipe import HeadRecipe
from .training_checkpoint import load_head, put_head, save_head, versions
from .training_data import DEFAULT_CACHE_BYTES, ImageSource, checked_labels
from .training_loss import branch_loss
from .training_optim import build_optimiser, epoch_order, mix, rate_factor, rng_devices, seed_step, set_rate

__all__ = ["HeadTrainingRecord", "TrainingDivergedError", "load_head", "save_head", "top1", "train_head"]


class TrainingDivergedError(RunError):
    """The loss is no longer finite. ``epoch`` and ``step`` count from 0; ``state`` is the last good ``state_dict``.

    ``good_epochs`` is the number of completed epochs that ``state`` has behind it (0: as initialised).
    """

    def __init__(self, what: str, epoch: int, step: int, state: Mapping[str, Tensor], good_epochs: int) -> None:
        super().__init__(
            f"{what}: the loss is not finite at step {step} of epoch {epoch + 1}; kept the state after {good_epochs} "
            "completed epoch(s). Lower optimiser.lr in the recipe, or check the images"
        )
        self.epoch, self.step, self.state, self.good_epochs = epoch, step, dict(state), good_epochs


class HeadTrainingRecord(BaseModel):
    """How a head was trained; everything needed to do it again.

    ``losses``: mean training loss per epoch (nats). ``train_top1``: percent correct per branch over the images as the
    last epoch saw them (before each step's update). ``eval_top1``: percent on the evaluation table, where one was
    given. ``seconds``: wall time with decoding and backbone passes. ``backbone_passes``: over the training table.
    ``cache_bytes``: size of the features of the whole table; ``cached`` says whether they were kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    backbone: str
    feature_layer: str
    branch: Branch
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
    train_top1: dict[str, float]
    eval_top1: dict[str, float]
    eval_fingerprint: str | None
    seconds: float
    backbone_passes: int
    cached: bool
    pooled: bool
    cache_bytes: int
    feature_dtype: str
    device: str
    versions: dict[str, str]


@dataclass
class _Epoch:
    """Sums over one epoch that stay on the device until its end."""

    losses: list[Tensor] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    correct: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, loss: Tensor, logits: Mapping[str, Tensor], labels: Tensor) -> None:
        self.losses.append(loss.detach())
        self.counts.append(len(labels))
        for branch, values in logits.items():
            self.correct.setdefault(branch, []).append((values.detach().argmax(1) == labels).sum())

    def first_bad(self) -> int | None:
        """First step whose loss is not finite."""
        bad = torch.nonzero(~torch.isfinite(torch.stack(self.losses))).flatten()
        return int(bad[0]) if len(bad) else None

    def mean_loss(self) -> float:
        weights = torch.tensor(self.counts, dtype=torch.float64)
        return float((torch.stack(self.losses).double().cpu() * weights).sum() / weights.sum())

    def top1(self) -> dict[str, float]:
        total = sum(self.counts)
        return {branch: 100.0 * int(torch.stack(hits).sum()) / total for branch, hits in self.correct.items()}


def train_head(
    backbone: Backbone,
    table: SampleTable,
    recipe: HeadRecipe,
    branch: Branch = "sigmoid",
    device: str | torch.device = "cpu",
    progress: bool = False,
    *,
    seed: int = 0,
    evaluate: SampleTable | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    workers: int = 2,
    source: FeatureSource | None = None,
) -> HeadTrainingRecord:
    """Train a fresh clone of the softmax head as ``backbone.heads[branch]``; everything else stays as it is, frozen.

    The sigmoid branch minimises Eq. 12, the softmax branch cross entropy; the class of an image is its label. With
    ``branch="softmax"`` the new head has the table's classes, and a sigmoid branch of other classes is dropped.
    Deterministic on the CPU for a seed and a number of threads. The feature cache changes no result beyond float
    rounding.

    Args:
        backbone: Network with its softmax head; moved to ``device`` and frozen.
        table: Training split.
        recipe: Optimiser, schedule, epochs, batch and input size.
        branch: Which head to train.
        device: Where to compute.
        progress: Show a bar (a few lines where there is no terminal).
        seed: Seed of the fresh parameters, the order of the images, dropout and augmentation.
        evaluate: Split on which both heads are scored afterwards (one more backbone pass, over that split).
        cache_bytes: Budget in bytes for the cached features, and for decoded images where features are streamed.
        workers: Decoding threads.
        source: Features of ``table`` that another branch's training already made (``feature_source``).

    Raises:
        TrainingDivergedError: The loss is NaN or infinite; the backbone keeps the heads that it had.
        UsageError: The table has other classes than the network (sigmoid branch).
        RunError: The table is empty, or no image could be decoded.
    """
    start = time.perf_counter()
    device = torch.device(device)
    if branch == "sigmoid" and table.num_classes != backbone.num_classes:
        raise UsageError(
            f"{backbone.name} has {backbone.num_classes} classes, {table.name} has {table.num_classes}: "
            "train its softmax head on this data set first"
        )
    labels = checked_labels(table, table.num_classes).to(device)
    backbone.to(device).freeze()
    template = backbone.head("softmax")
    # Layers draw default values from the global generator before `fresh` fills them from its own.
    with torch.random.fork_rng(devices=[]):
        head = template.fresh(torch.Generator().manual_seed(mix(seed, 0, 3)), num_classes=table.num_classes)
    head.to(device).requires_grad_(True)
    observed = {"softmax": template} if branch == "sigmoid" else {}

    source = source or feature_source(backbone, table, recipe, device, [head], cache_bytes, workers)
    images = source.images
    title = f"{backbone.name}: {branch} head on {table.name}"
    # Whether the features fit is known after one batch, so the bar counts the images that the head sees.
    with progress_bar(title, len(table) * recipe.epochs) if progress else nullcontext() as bar:
        losses: list[float] = []
        last = _Epoch()
        good = _snapshot(head)
        optimiser = build_optimiser(recipe.optimiser, [(head.parameters(), 1.0)])
        steps = -(-len(table) // recipe.batch_size)
        with torch.random.fork_rng(devices=rng_devices(device)):
            for epoch in range(recipe.epochs):
                last = _Epoch()
                head.train()
                for offset, (features, rows) in enumerate(
                    source.epoch(epoch_order(len(table), seed, epoch), recipe.batch_size)
                ):
                    step = epoch * steps + offset
                    set_rate(optimiser, rate_factor(recipe.schedule, step, steps, recipe.epochs))
                    seed_step(seed, step)
                    _step(head, observed, optimiser, branch, features, labels[rows.to(device)], last)
                    if bar is not None:
                        bar.advance(len(rows))
                if not last.losses:
                    raise RunError(f"{table.name} {table.split}: none of the {len(table)} images could be decoded")
                bad = last.first_bad()
                if bad is not None:
                    raise TrainingDivergedError(title, epoch, bad, good, epoch)
                good = _snapshot(head)
                losses.append(last.mean_loss())
    put_head(backbone, branch, head)
    return HeadTrainingRecord(
        backbone=backbone.name,
        feature_layer=backbone.feature_layer,
        branch=branch,
        num_classes=head.num_classes,
        dataset=table.name,
        split=table.split,
        data_fingerprint=table.fingerprint,
        images=len(table) - len(images.failures),
        failures=tuple(f.image_id for _, f in sorted(images.failures.items())),
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=recipe.digest,
        seed=seed,
        losses=tuple(losses),
        train_top1=last.top1(),
        eval_top1=top1(backbone, evaluate, recipe.size, device, workers) if evaluate is not None else {},
        eval_fingerprint=evaluate.fingerprint if evaluate is not None else None,
        seconds=time.perf_counter() - start,
        backbone_passes=source.passes,
        cached=bool(source.cached),
        pooled=source.pooled,
        cache_bytes=source.bytes_needed,
        feature_dtype=str(source.dtype).removeprefix("torch."),
        device=str(device),
        versions=versions(),
    )


def feature_source(
    backbone: Backbone,
    table: SampleTable,
    recipe: HeadRecipe,
    device: str | torch.device,
    heads: Sequence[Head],
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    workers: int = 2,
    images: ImageSource | None = None,
) -> FeatureSource:
    """Features of a training table, to be shared by the trainings of several ``heads`` on one frozen backbone.

    ``images``: its decoded images, where several backbones share them (``image_source``).
    """
    return FeatureSource(
        backbone.to(device),
        images or image_source(table, recipe, workers, cache_bytes if recipe.augment else 0),
        [*heads, backbone.head("softmax")],
        size=recipe.size,
        augment=recipe.augment,
        cache_bytes=cache_bytes,
        device=torch.device(device),
    )


def image_source(
    table: SampleTable, recipe: HeadRecipe, workers: int, cache_bytes: int = DEFAULT_CACHE_BYTES
) -> ImageSource:
    """Decoded images of a training table at the size that the recipe loads; kept in memory within ``cache_bytes``."""
    return ImageSource(table, recipe.augment.load_size if recipe.augment else recipe.size, workers, cache_bytes)


def _step(
    head: Head,
    observed: Mapping[str, Head],
    optimiser: torch.optim.Optimizer,
    branch: Branch,
    features: Tensor,
    labels: Tensor,
    sums: _Epoch,
) -> None:
    optimiser.zero_grad(set_to_none=True)
    logits = head(features)
    loss = branch_loss(branch, logits, labels)
    # A head is small: autograd only ever reaches its parameters, the features carry no graph.
    loss.backward()
    optimiser.step()
    with torch.no_grad():
        others = {name: other(features) for name, other in observed.items()}
    sums.add(loss, {branch: logits, **others}, labels)


def _snapshot(head: Head) -> dict[str, Tensor]:
    return {k: v.detach().clone() for k, v in head.state_dict().items()}


@torch.no_grad()
def top1(
    backbone: Backbone, table: SampleTable, size: int, device: str | torch.device, workers: int = 2
) -> dict[str, float]:
    """Top-1 accuracy in percent of every branch of a frozen backbone over the decodable images of a split.

    Raises:
        RunError: The split is empty, a label is out of range, or no image could be decoded.
    """
    device = torch.device(device)
    backbone.to(device).freeze()
    labels = checked_labels(table, backbone.num_classes).to(device)
    images = ImageSource(table, size, workers, cache_bytes=0)
    hits = {name: torch.zeros((), dtype=torch.int64, device=device) for name in backbone.heads}
    seen = 0
    for pixels, rows in images.batches(range(len(table)), PASS_BATCH):
        features = backbone.features(backbone.normalise(pixels.to(device).float().div_(255)))
        for name, head in backbone.heads.items():
            hits[name] += (head(features).argmax(1) == labels[rows.to(device)]).sum()
        seen += len(rows)
    if not seen:
        raise RunError(f"{table.name} {table.split}: none of the {len(table)} images could be decoded")
    return {name: 100.0 * int(count) / seen for name, count in hits.items()}
