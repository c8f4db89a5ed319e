"""Training of one branch's head on a frozen backbone (SEMANTICS §1, *Beyond Softmax* §3.3)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...baselines.contracts import Backbone, Branch, Head
from ...datasets.schema import SampleTable
from ...progress import progress as progress_bar
from ...torch_state import usual_torch
from ..host.allocator import keep_freed_memory
from ..host.errors import RunError, UsageError
from ..host.memory import is_out_of_memory, memory_error
from .checkpoint import load_head, put_head, save_head
from .images.features import FeatureSource, feature_source
from .images.image_source import checked_labels
from .means import PLAIN_MEANS, Means
from .recipes.optim import epoch_order, mix, rate_factor, rng_devices, seed_step
from .recipes.recipe import HeadRecipe
from .record import HeadTrainingRecord, common_facts
from .resume import HeadProgress, head_key
from .steps.guard import TrainingDivergedError, first_bad
from .steps.log import TrainingLog
from .steps.loss import branch_loss
from .steps.wide_layer import HeadSteps, head_steps
from .top1 import top1

__all__ = ["HeadTrainingRecord", "TrainingDivergedError", "load_head", "save_head", "top1", "train_head"]


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

    def mean_loss(self) -> float:
        weights = torch.tensor(self.counts, dtype=torch.float64)
        return float((torch.stack(self.losses).cpu().double() * weights).sum() / weights.sum())

    def top1(self) -> dict[str, float]:
        total = sum(self.counts)
        return {branch: 100.0 * int(torch.stack(hits).sum()) / total for branch, hits in self.correct.items()}


@usual_torch()
def train_head(
    backbone: Backbone,
    data: SampleTable | FeatureSource,
    recipe: HeadRecipe,
    branch: Branch = "sigmoid",
    means: Means = PLAIN_MEANS,
    *,
    seed: int = 0,
    evaluate: SampleTable | None = None,
    each_epoch: bool = False,
) -> HeadTrainingRecord:
    """Train a fresh clone of the softmax head as ``backbone.heads[branch]``; everything else stays as it is, frozen.

    The sigmoid branch minimises Eq. 12, the softmax branch cross entropy; the class of an image is its label. With
    ``branch="softmax"`` the new head has the table's classes, and a sigmoid branch of other classes is dropped.
    Deterministic on the CPU for a seed and a number of threads. The feature cache and ``training_steps`` change no
    result beyond float rounding.

    Args:
        backbone: Network with its softmax head; moved to the device and frozen.
        data: Training split, or its features that another branch's training already made (``feature_source``).
        recipe: Optimiser, schedule, epochs, batch and input size.
        branch: Which head to train.
        means: Device, memory, threads and files. A state file is written while features are streamed.
        seed: Seed of the fresh parameters, the order of the images, dropout and augmentation.
        evaluate: Split on which both heads are scored afterwards (one more backbone pass, over that split).
        each_epoch: Score both heads on ``evaluate`` after every epoch, from the same one pass where its features fit.

    Raises:
        TrainingDivergedError: The loss or the head is NaN or infinite; the backbone keeps the heads that it had.
        BatchMemoryError: A batch does not fit into the device's memory; says the largest that does.
        UsageError: The table has other classes than the network, or the network can have no such branch.
        RunError: The table is empty, no image could be decoded, or a state cannot be written.
    """
    start = time.perf_counter()
    keep_freed_memory()
    table = data.images.table if isinstance(data, FeatureSource) else data
    device = torch.device(means.device)
    if branch != "softmax" and table.num_classes != backbone.num_classes:
        raise UsageError(
            f"{backbone.name} has {backbone.num_classes} classes, {table.name} has {table.num_classes}: "
            "train its softmax head on this data set first (--branch softmax) and give its file with --softmax-weights"
        )
    labels = checked_labels(table, table.num_classes).to(device)
    backbone.to(device).freeze()
    template = backbone.head("softmax")
    # Layers draw default values from the global generator before `fresh` fills them from its own.
    with torch.random.fork_rng(devices=[]):
        generator = torch.Generator().manual_seed(mix(seed, 0, 3))
        try:
            head = backbone.fresh_head(branch, generator, num_classes=table.num_classes)
        except TypeError as error:
            raise UsageError(str(error)) from None
    head.to(device).requires_grad_(True)
    observed = {"softmax": template} if branch != "softmax" else {}
    scored = {**observed, branch: head}

    source = data if isinstance(data, FeatureSource) else feature_source(backbone, table, recipe, [head], means)
    judge = _Judge(backbone, evaluate, recipe, scored, means) if evaluate else None
    images, log = source.images, means.log or TrainingLog()
    log.begin(0, recipe.model_dump_json())
    title = f"{backbone.name}: {branch} head on {table.name}"
    # What takes a backbone pass comes first, each under its own name: the epochs that follow may take no time at all.
    kept = source.kept(means.progress)
    if judge is not None:
        judge.read(means.progress)
    with progress_bar(title, len(table) * recipe.epochs, "image passes") if means.progress else nullcontext() as bar:
        last = _Epoch()
        steps = -(-len(table) // recipe.batch_size)
        with torch.random.fork_rng(devices=rng_devices(device)):
            work = head_steps(head, recipe.optimiser, kept)
            streamed = None if source.cached else means.state_file
            progressed = HeadProgress(
                streamed, head_key(backbone, branch, work, table, recipe, seed) if streamed else ""
            )
            progressed.restore(work, title)
            losses, judged = progressed.losses, progressed.judged
            good = work.state()
            for epoch in range(len(losses), recipe.epochs):
                last = _Epoch()
                head.train()
                # A frozen head answers alike in every epoch, and only the last one's accuracy is recorded.
                beside = observed if epoch == recipe.epochs - 1 else {}
                for offset, (features, rows) in enumerate(
                    source.epoch(epoch_order(len(table), seed, epoch), recipe.batch_size, seed, epoch)
                ):
                    step = epoch * steps + offset
                    factor = rate_factor(recipe.schedule, step, steps, recipe.epochs)
                    seed_step(seed, step)
                    _step(work, factor, beside, branch, features, rows.to(device), labels, last)
                    if bar is not None:
                        bar.advance(len(rows), f"epoch {epoch + 1} of {recipe.epochs}")
                if not last.losses:
                    raise RunError(f"{table.name} {table.split}: none of the {len(table)} images could be decoded")
                bad = first_bad(last.losses)
                if bad is not None:
                    raise TrainingDivergedError(title, epoch, bad, good(), epoch)
                if not work.finite():
                    raise TrainingDivergedError(title, epoch, len(last.losses) - 1, good(), epoch, "head")
                losses.append(last.mean_loss())
                done = epoch == recipe.epochs - 1
                if done or (judge is not None and each_epoch):
                    work.settle(last=done)
                if not done:
                    good = work.state()
                if judge is not None and (each_epoch or done):
                    judged.append(judge.scores())
                if not done:
                    progressed.save(work, source.passes, start)
                _write(log, (epoch + 1) * steps, losses[-1], last.top1(), judged[-1] if each_epoch and judged else {})
    log.close()
    put_head(backbone, branch, head)
    return HeadTrainingRecord(
        **common_facts(backbone, table, recipe, seed, images.failures, str(device)),
        feature_layer=backbone.feature_layer,
        branch=branch,
        losses=tuple(losses),
        train_top1=last.top1(),
        eval_top1=judged[-1] if judged else {},
        epoch_top1=tuple(judged) if each_epoch else (),
        eval_fingerprint=evaluate.fingerprint if evaluate is not None else None,
        seconds=progressed.seconds + time.perf_counter() - start,
        backbone_passes=progressed.passes + source.passes,
        cached=bool(source.cached),
        pooled=source.pooled,
        cache_bytes=source.bytes_needed,
        feature_dtype=str(source.dtype).removeprefix("torch."),
    )


class _Judge:
    """Top-1 accuracy of heads on an evaluation split, as often as asked, from one backbone pass where that fits."""

    def __init__(
        self,
        backbone: Backbone,
        table: SampleTable,
        recipe: HeadRecipe,
        heads: Mapping[str, Head],
        means: Means,
    ) -> None:
        classes = next(iter(heads.values())).num_classes
        self._labels = checked_labels(table, classes).to(torch.device(means.device))
        self._heads, self._table = dict(heads), table
        plain = recipe.model_copy(update={"augment": None})
        self._source = feature_source(backbone, table, plain, list(heads.values()), means)

    def read(self, progress: bool) -> None:
        """Make the features, where they are kept."""
        self._source.kept(progress)

    @torch.no_grad()
    def scores(self) -> dict[str, float]:
        """Percent correct per branch; the heads are left in evaluation mode."""
        hits = {name: torch.zeros((), dtype=torch.int64, device=self._labels.device) for name in self._heads}
        seen = 0
        for features, rows in self._source.epoch(range(len(self._table)), self._source.pass_batch):
            for name, head in self._heads.items():
                hits[name] += (head.eval()(features).argmax(1) == self._labels[rows.to(self._labels.device)]).sum()
            seen += len(rows)
        if not seen:
            table = self._table
            raise RunError(f"{table.name} {table.split}: none of the {len(table)} images could be decoded")
        return {name: 100.0 * int(count) / seen for name, count in hits.items()}


def _step(
    work: HeadSteps,
    factor: float,
    observed: Mapping[str, Head],
    branch: Branch,
    features: Tensor,
    rows: Tensor,
    labels: Tensor,
    sums: _Epoch,
) -> None:
    def forward_and_back(count: int) -> tuple[Tensor, Tensor]:
        work.clear()
        logits = work.logits(features[:count], rows[:count])
        loss = branch_loss(branch, logits, labels[rows[:count]])
        # A head is small: autograd only ever reaches its parameters, the features carry no graph.
        loss.backward()
        return logits, loss

    done: tuple[Tensor, Tensor] | None = None
    try:
        result = forward_and_back(len(rows))
        work.step(factor)
        done = result
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    if done is None:
        raise memory_error(
            f"{branch} head",
            len(rows),
            features.device,
            forward_and_back,
            lambda fits: f"set batch_size {fits} in the recipe",
        )
    logits, loss = done
    with torch.no_grad():
        others = {name: other(features) for name, other in observed.items()}
    sums.add(loss, {branch: logits, **others}, labels[rows])


def _write(log: TrainingLog, step: int, loss: float, train: Mapping[str, float], test: Mapping[str, float]) -> None:
    log.scalars(step, {"loss/epoch": loss})
    log.scalars(step, {f"top1/train/{name}": value for name, value in train.items()})
    log.scalars(step, {f"top1/evaluation/{name}": value for name, value in test.items()})
