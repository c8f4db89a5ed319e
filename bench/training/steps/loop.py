"""Steps and epochs of a softmax network's training; what they hold is the state from which it goes on to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ....baselines.contracts import Backbone
from ....baselines.wsol import WsolMethod
from ....float64 import widest
from ....progress import Bar
from ...host.errors import RunError
from ...host.memory import BatchMemoryError, is_out_of_memory, memory_error
from ..images.augment import augment_images, to_pixels
from ..images.image_source import ImageSource
from ..recipes.optim import build_optimiser, epoch_order, image_seeds, rate_factor, rate_groups, seed_part, set_rate
from ..recipes.recipe import BackboneRecipe
from .guard import TrainingDivergedError, all_finite
from .log import TrainingLog
from .microbatches import Parts, RunningStatistics
from .training_method import Objective

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CHECK_EVERY = 25
"""Steps between looks at the loss (each waits for the device)."""


class BackboneTrainer:
    """One training under way; ``state`` and ``restore`` hold all of it between two steps.

    Args:
        backbone: Network on ``device``, its parameters requiring gradients.
        images: Decoded images of the training split.
        labels: (len(table),) int64 on ``device``.
        recipe: Everything that shapes the training.
        seed: Seed of the order of the images, dropout and augmentation.
        method: What is minimised, and what else the way of training changes.
        fabric: Device, precision, and the processes that share each batch.
        log: Where curves go.
    """

    def __init__(
        self,
        backbone: Backbone,
        images: ImageSource,
        labels: Tensor,
        recipe: BackboneRecipe,
        seed: int,
        method: WsolMethod,
        fabric: Fabric,
        log: TrainingLog,
    ) -> None:
        self.backbone, self.images, self.labels, self.recipe = backbone, images, labels, recipe
        self.seed, self.method, self.fabric, self.log = seed, method, fabric, log
        self.batch = min(recipe.batch_size, len(images.table))
        self.parts = Parts.of(self.batch, recipe.accumulate, fabric.global_rank, fabric.world_size)
        self.optimiser = build_optimiser(recipe.optimiser, _groups(backbone, recipe, method))
        # The network is on its device already; Fabric's own move knows CPU and numbered CUDA devices only.
        self._plain = Objective(backbone, method)
        self._objective = fabric.setup_module(self._plain, move_to_device=False)
        self._stepper = fabric.setup_optimizers(self.optimiser)
        self._statistics = RunningStatistics(backbone) if self.parts.count > 1 else None
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.seconds = 0.0
        self._begin_epoch()
        self._resumed = time.perf_counter()

    def _begin_epoch(self) -> None:
        self.offset, self._epoch_losses = 0, list[float]()
        # Of each step since the last look: the mean loss, and the terms of this process's last part.
        self._unread = list[tuple[Tensor, Tensor]]()
        # Correct images, and images.
        self._hits = torch.zeros(2, dtype=widest(self.fabric.device), device=self.fabric.device)

    @property
    def title(self) -> str:
        """The training in a few words."""
        return f"{self.backbone.name} on {self.images.table.name}"

    @property
    def steps(self) -> int:
        """Steps an epoch: whole batches only, except where there is only one."""
        return max(len(self.images.table) // self.recipe.batch_size, 1)

    @property
    def images_left(self) -> int:
        """Images of the epochs that are not done, this process's and the others'."""
        return ((self.recipe.epochs - len(self.losses)) * self.steps - self.offset) * self.batch

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on; call it after ``check``."""
        now = time.perf_counter()
        self.seconds, self._resumed = self.seconds + now - self._resumed, now
        return {
            "network": self.backbone.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
            "losses": self.losses,
            "accuracies": self.accuracies,
            "seconds": self.seconds,
            "offset": self.offset,
            "epoch_losses": self._epoch_losses,
            "hits": self._hits,
            "failures": dict(self.images.failures),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a ``state``."""
        self.backbone.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.fabric.strategy.precision.load_state_dict(state["scaler"])
        self.losses, self.accuracies, self.seconds = state["losses"], state["accuracies"], state["seconds"]
        self.offset, self._epoch_losses = state["offset"], state["epoch_losses"]
        self._hits = state["hits"].to(self.fabric.device)
        self.images.failures.update(state["failures"])

    def epoch(self, bar: Bar | None, after_step: Callable[[], None]) -> None:
        """The rest of the epoch that is under way; ``after_step`` is called between two steps.

        Raises:
            TrainingDivergedError: The parameters stay as they are (the caller has the last good ones).
            BatchMemoryError: The batch does not fit. RunError: No image could be decoded.
        """
        number, first = len(self.losses), self.parts.span[0]
        order = epoch_order(len(self.images.table), self.seed, number)
        mine = [
            row
            for step in range(self.offset, self.steps)
            for row in order[step * self.batch :][first : self.parts.span[1]]
        ]
        self.backbone.train()
        for images, rows in self.images.batches(mine, self.parts.span[1] - first):
            step = number * self.steps + self.offset
            set_rate(self.optimiser, rate_factor(self.recipe.schedule, step, self.steps, self.recipe.epochs))
            seeds = image_seeds(self.seed, number, rows.tolist(), len(self.images.table))
            crops = augment_images(images, seeds, self.recipe.augment, self.recipe.size)
            place = {row: i for i, row in enumerate(order[self.offset * self.batch :][: self.batch])}
            self._step(step, crops, torch.tensor([place[row] for row in rows.tolist()]), rows)
            self.offset += 1
            if bar is not None:
                bar.advance(self.batch, f"epoch {number + 1} of {self.recipe.epochs}")
            if len(self._unread) >= CHECK_EVERY:
                self.check()
            if self.offset < self.steps:
                after_step()
        self.check(parameters=True)
        hits, seen = self._hits.tolist()
        if not seen:
            table = self.images.table
            raise RunError(f"{table.name} {table.split}: none of the {len(table)} images could be decoded")
        self.losses.append(float(torch.tensor(self._epoch_losses, dtype=torch.float64).mean()))
        self.accuracies.append(100.0 * hits / seen)
        facts = {"loss/epoch": self.losses[-1], "top1/train": self.accuracies[-1]}
        self.log.scalars((number + 1) * self.steps, facts)
        self._begin_epoch()

    def _step(self, step: int, images: Tensor, positions: Tensor, rows: Tensor) -> None:
        """One step of the whole batch, of which this process has ``images`` at ``positions``."""
        device = self.fabric.device
        images, labels = images.to(device, non_blocking=True), self.labels[rows.to(device)]
        sums = torch.zeros(3, dtype=widest(device), device=device)
        self._stepper.zero_grad(set_to_none=True)
        if self._statistics is not None:
            self._statistics.begin()
        bounds = {part: self.parts.bounds(part) for part in self.parts.mine}
        chosen = {part: ((positions >= low) & (positions < high)).nonzero() for part, (low, high) in bounds.items()}
        parts = [part for part in chosen if len(chosen[part])]
        for part in parts:
            seed_part(self.seed, step, part)
            here = chosen[part].flatten().to(device)
            sums += self._part(images[here], labels[here], part == parts[-1])
            if self._statistics is not None:
                self._statistics.add(len(here) / self.batch)
        if not parts and self.parts.world == 1:
            return
        if not parts:
            self._take_part()
        self._share(sums)
        self._stepper.step()
        self._unread.append((sums[0] / sums[2].clamp_min(1), self._terms))
        self._hits += sums[1:]

    def _take_part(self) -> None:
        """Answer the others, who wait for this process's gradients, where none of its images could be decoded."""
        device, side = self.fabric.device, self.recipe.size
        images = torch.zeros((2, 3, side, side), dtype=torch.uint8, device=device)
        self._forward_and_back(images, torch.zeros(2, dtype=torch.int64, device=device), True, weight=0.0)
        if self._statistics is not None:
            self._statistics.add(0.0)

    def _part(self, images: Tensor, labels: Tensor, last: bool) -> Tensor:
        """Add the gradients of one part; (summed loss, correct images, images)."""
        done: Tensor | None = None
        try:
            done = self._forward_and_back(images, labels, last)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if done is None:
            raise self._too_little_memory(images, labels)
        return done

    def _forward_and_back(self, images: Tensor, labels: Tensor, last: bool, weight: float = 1.0) -> Tensor:
        """Gradients of a part; with those of the ``last`` one, the processes' are summed."""
        pixels = to_pixels(images, self.recipe.side(len(self.losses)))
        inputs, targets = self.method.change_batch(self.backbone.normalise(pixels), labels)
        layout = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        inputs = inputs.contiguous(memory_format=layout)
        with self.fabric.no_backward_sync(self._objective, enabled=not last):
            loss, logits, self._terms = self._objective(inputs, targets)
            # Fabric takes the mean over the processes; the batch's gradient is their sum.
            share = weight * len(labels) * self.parts.world / self.batch
            self.fabric.backward(loss * share)
        wide = widest(self.fabric.device)
        correct = (logits.detach().argmax(1) == labels).sum().to(wide)
        count = torch.full_like(correct, len(labels))
        return torch.stack([loss.detach().to(wide) * len(labels), correct, count])

    def _share(self, sums: Tensor) -> None:
        """Sum the counts and statistics over the processes; images that could not be decoded count for nobody."""
        statistics = self._statistics.sums if self._statistics is not None else []
        self.fabric.all_reduce([sums, *statistics], reduce_op="sum")
        weight = (sums[2] / self.batch).float()
        if self.parts.world > 1 or self.images.failures:
            for parameter in self.backbone.parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(weight.clamp_min(1e-12))
        if self._statistics is not None:
            self._statistics.finish(weight)

    def check(self, parameters: bool = False) -> None:
        """Read the losses since the last look; TrainingDivergedError where one, or a parameter, is not finite."""
        number = len(self.losses)
        losses = torch.stack([loss for loss, _ in self._unread]).tolist() if self._unread else []
        begun = number * self.steps + self.offset - len(losses)
        seen, self._unread = self._unread, []
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                raise TrainingDivergedError(
                    self.title, number, len(self._epoch_losses), {}, number, self._subject(seen[i][1])
                )
            self._epoch_losses.append(loss)
            self.log.scalars(begun + i, {"loss/step": loss})
        if losses:
            self.log.scalars(begun + len(losses) - 1, {"learning rate": self.optimiser.param_groups[0]["lr"]})
        if parameters and not all_finite(self.backbone):
            raise TrainingDivergedError(self.title, number, self.offset - 1, {}, number, "network")

    def _subject(self, terms: Tensor) -> str:
        """What a message calls a loss that is not finite: by its terms that are not, where it has several."""
        finite = torch.isfinite(terms).tolist()
        bad = [name for name, good in zip(self._plain.terms, finite, strict=False) if not good]
        return f"loss {' and '.join(bad)} of the method {self.method.name}" if bad else "loss"

    def _too_little_memory(self, images: Tensor, labels: Tensor) -> BatchMemoryError:
        """After looking for the largest part that fits, beside the optimiser's state, which the first step makes."""
        self._stepper.zero_grad(set_to_none=True)
        copies = 0 if self.optimiser.state else 1 if self.recipe.optimiser.name == "sgd" else 2

        def attempt(count: int) -> None:
            held = [torch.zeros_like(p) for p in self.backbone.parameters() for _ in range(copies)]
            self._forward_and_back(images[:count], labels[:count], last=False)
            self._stepper.zero_grad(set_to_none=True)
            held.clear()

        return memory_error(
            f"{self.title}, batch of {self.batch}",
            len(images),
            self.fabric.device,
            attempt,
            lambda fits: (
                f"give --accumulate {self.parts.smaller(fits)} (the same batch in parts, each with its own BatchNorm "
                "statistics), or a smaller batch_size or dtype in the recipe"
            ),
        )


def _groups(backbone: Backbone, recipe: BackboneRecipe, method: WsolMethod) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters of the body, and those that train at the head's rate."""
    fast = ("heads.softmax.", *recipe.head_like, *method.new_layers)
    return rate_groups(backbone.named_parameters(), fast, recipe.head_lr_factor)
