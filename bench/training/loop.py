"""Steps and epochs of a softmax network's training; what they hold is the state from which it goes on to the bit."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...baselines.contracts import Backbone
from ..host.errors import RunError
from ..host.memory import BatchMemoryError, is_out_of_memory, memory_error
from ..host.progress import Bar
from .augment import augment_batch, draw
from .checkpoint import network_tensors
from .guard import TrainingDivergedError, all_finite
from .image_source import ImageSource
from .log import TrainingLog
from .microbatches import Parts, RunningStatistics
from .optim import build_optimiser, epoch_order, rate_factor, seed_part, seed_step, set_rate
from .processes import Ranks
from .recipe import BackboneRecipe

CHECK_EVERY = 25
"""Steps between looks at the loss (each waits for the device)."""
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class BackboneTrainer:
    """One training under way; ``state`` and ``restore`` hold all of it between two steps.

    Args:
        backbone: Network on ``device``, its parameters requiring gradients.
        images: Decoded images of the training split.
        labels: (len(table),) int64 on ``device``.
        recipe: Everything that shapes the training.
        seed: Seed of the order of the images, dropout and augmentation.
        device: Where to compute.
        ranks: The processes that share each batch.
        log: Where curves go.
    """

    def __init__(
        self,
        backbone: Backbone,
        images: ImageSource,
        labels: Tensor,
        recipe: BackboneRecipe,
        seed: int,
        device: torch.device,
        ranks: Ranks,
        log: TrainingLog,
    ) -> None:
        self.backbone, self.images, self.labels, self.recipe = backbone, images, labels, recipe
        self.seed, self.device, self.ranks, self.log = seed, device, ranks, log
        self.batch = min(recipe.batch_size, len(images.table))
        self.parts = Parts.of(self.batch, recipe.accumulate, ranks)
        self.optimiser = build_optimiser(recipe.optimiser, _groups(backbone, recipe))
        self.scaler = torch.amp.GradScaler(device.type, enabled=recipe.dtype == "float16")
        self._statistics = RunningStatistics(backbone) if self.parts.count > 1 else None
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.seconds = 0.0
        self._begin_epoch()
        self._resumed = time.perf_counter()

    def _begin_epoch(self) -> None:
        self.offset, self._epoch_losses, self._unread = 0, list[float](), list[Tensor]()
        # Correct images, and images.
        self._hits = torch.zeros(2, dtype=torch.float64, device=self.device)

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
            "network": network_tensors(self.backbone),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
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
        self.backbone.load_state_dict(state["network"], strict=False)
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.losses, self.accuracies, self.seconds = state["losses"], state["accuracies"], state["seconds"]
        self.offset, self._epoch_losses = state["offset"], state["epoch_losses"]
        self._hits = state["hits"].to(self.device)
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
            nominal = order[self.offset * self.batch :][first : self.parts.span[1]]
            self._step(step, images, self._positions(nominal, rows), rows)
            self.offset += 1
            if bar is not None:
                bar.advance(self.batch, f"epoch {number + 1}/{self.recipe.epochs}")
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

    def _positions(self, nominal: list[int], rows: Tensor) -> Tensor:
        """Positions in the whole batch of the images that could be decoded."""
        if len(rows) == len(nominal):
            return torch.arange(len(rows)) + self.parts.span[0]
        place = {row: i for i, row in enumerate(nominal)}
        return torch.tensor([place[r] for r in rows.tolist()], dtype=torch.int64) + self.parts.span[0]

    def _step(self, step: int, images: Tensor, positions: Tensor, rows: Tensor) -> None:
        """One step of the whole batch, of which this process has ``images`` at ``positions``."""
        seed_step(self.seed, step)
        draws = draw(self.batch, self.device)
        images, labels = images.to(self.device, non_blocking=True), self.labels[rows.to(self.device)]
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.optimiser.zero_grad(set_to_none=True)
        if self._statistics is not None:
            self._statistics.begin()
        for part in self.parts.mine:
            low, high = self.parts.bounds(part)
            chosen = ((positions >= low) & (positions < high)).nonzero().flatten()
            if not len(chosen):
                continue
            if part:
                seed_part(self.seed, step, part)
            here = chosen.to(self.device)
            sums += self._part(images[here], labels[here], draws[:, positions[chosen].to(self.device)])
            if self._statistics is not None:
                self._statistics.add(len(chosen) / self.batch)
        if not len(rows) and self.ranks.world == 1:
            return
        self._share(sums)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self._unread.append(sums[0] / sums[2].clamp_min(1))
        self._hits += sums[1:]

    def _part(self, images: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        """Add the gradients of one part; float64 (summed loss, correct images, images)."""
        done: Tensor | None = None
        try:
            done = self._forward_and_back(images, labels, draws)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        if done is None:
            raise self._too_little_memory(images, labels, draws)
        return done

    def _forward_and_back(self, images: Tensor, labels: Tensor, draws: Tensor) -> Tensor:
        recipe = self.recipe
        pixels = augment_batch(images, draws, recipe.augment, recipe.size, recipe.side(len(self.losses)))
        inputs = self.backbone.normalise(pixels)
        # A crop leaves channels last in memory, whatever is wanted.
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        inputs = inputs.contiguous(memory_format=layout)
        with torch.autocast(self.device.type, _DTYPES[recipe.dtype], enabled=recipe.dtype != "float32"):
            logits = self.backbone(inputs)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        self.scaler.scale(loss * (len(labels) / self.batch)).backward()
        correct = (logits.detach().argmax(1) == labels).sum().double()
        count = torch.full_like(correct, len(labels))
        return torch.stack([loss.detach().double() * len(labels), correct, count])

    def _share(self, sums: Tensor) -> None:
        """Sum gradients and statistics over the processes; images that could not be decoded count for nobody."""
        self.ranks.sum_([sums])
        statistics = self._statistics.sums if self._statistics is not None else []
        if self.ranks.world > 1:
            for parameter in self.backbone.parameters():
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
        gradients = [p.grad for p in self.backbone.parameters() if p.grad is not None]
        self.ranks.sum_([*gradients, *statistics])
        weight = (sums[2] / self.batch).float()
        if self.ranks.world > 1 or self.images.failures:
            for gradient in gradients:
                gradient.div_(weight.clamp_min(1e-12))
        if self._statistics is not None:
            self._statistics.finish(weight)

    def check(self, parameters: bool = False) -> None:
        """Read the losses since the last look; TrainingDivergedError where one, or a parameter, is not finite."""
        number = len(self.losses)
        losses = torch.stack(self._unread).tolist() if self._unread else []
        begun = number * self.steps + self.offset - len(losses)
        self._unread.clear()
        for i, loss in enumerate(losses):
            if loss != loss or abs(loss) == float("inf"):
                raise TrainingDivergedError(self.title, number, len(self._epoch_losses), {}, number)
            self._epoch_losses.append(loss)
            self.log.scalars(begun + i, {"loss/step": loss})
        if losses:
            self.log.scalars(begun + len(losses) - 1, {"learning rate": self.optimiser.param_groups[0]["lr"]})
        if parameters and not all_finite(self.backbone):
            raise TrainingDivergedError(self.title, number, self.offset - 1, {}, number, "network")

    def _too_little_memory(self, images: Tensor, labels: Tensor, draws: Tensor) -> BatchMemoryError:
        """After looking for the largest part that fits, beside the optimiser's state, which the first step makes."""
        self.optimiser.zero_grad(set_to_none=True)
        copies = 0 if self.optimiser.state else 1 if self.recipe.optimiser.name == "sgd" else 2

        def attempt(count: int) -> None:
            held = [torch.zeros_like(p) for p in self.backbone.parameters() for _ in range(copies)]
            self._forward_and_back(images[:count], labels[:count], draws[:, :count])
            self.optimiser.zero_grad(set_to_none=True)
            held.clear()

        return memory_error(
            f"{self.title}, batch of {self.batch}",
            len(images),
            self.device,
            attempt,
            lambda fits: (
                f"give --accumulate {self.parts.smaller(fits)} (the same batch in parts, each with its own BatchNorm "
                "statistics), or a smaller batch_size or dtype in the recipe"
            ),
        )


def _groups(backbone: Backbone, recipe: BackboneRecipe) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters of the body, and those that train at the head's rate."""
    fast = ("heads.softmax.", *recipe.head_like)
    named = list(backbone.named_parameters())
    return [
        ([p for n, p in named if not n.startswith(fast)], 1.0),
        ([p for n, p in named if n.startswith(fast)], recipe.head_lr_factor),
    ]
