"""Trainings that go wrong: a loss that is not finite, or too little memory for the batch. Both say so and stop."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from .errors import RunError


class TrainingDivergedError(RunError):
    """The loss or a parameter is no longer finite. ``epoch`` and ``step`` count from 0; ``state`` is the last good one.

    ``good_epochs``: completed epochs that ``state`` has behind it (0: as initialised).
    """

    def __init__(
        self, what: str, epoch: int, step: int, state: Mapping[str, Tensor], good_epochs: int, subject: str = "loss"
    ) -> None:
        super().__init__(
            f"{what}: the {subject} is not finite at step {step} of epoch {epoch + 1}; kept the state after "
            f"{good_epochs} completed epoch(s). Lower optimiser.lr in the recipe, or check the images"
        )
        self.epoch, self.step, self.state, self.good_epochs = epoch, step, dict(state), good_epochs


class TrainingMemoryError(RunError):
    """The batch does not fit into memory; ``fits`` is the largest number of images at a time that does (0: none)."""

    def __init__(self, message: str, fits: int) -> None:
        super().__init__(message)
        self.fits = fits


def first_bad(losses: Sequence[Tensor]) -> int | None:
    """Index of the first loss that is not finite."""
    bad = torch.nonzero(~torch.isfinite(torch.stack(list(losses)))).flatten()
    return int(bad[0]) if len(bad) else None


def all_finite(module: nn.Module) -> bool:
    """Whether every parameter and floating buffer is finite (one wait for the device)."""
    floating = [t for t in module.state_dict().values() if t.is_floating_point()]
    return bool(torch.stack([torch.isfinite(t).all() for t in floating]).all())


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """Copies of a module's parameters and buffers."""
    return {k: v.detach().clone() for k, v in module.state_dict().items()}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device, or the host's allocator, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def memory_error(
    what: str, count: int, device: torch.device, attempt: Callable[[int], object], advice: Callable[[int], str]
) -> TrainingMemoryError:
    """The error for ``count`` images at a time that did not fit, after looking for the largest number that does.

    Args:
        what: What was computed, in words. device: Where. attempt: Does the same for a number of images.
        advice: What to do, given the number that fits (at least 1).
    """
    fits = largest_fitting(attempt, count)
    told = f"the largest that fits is {fits}: {advice(fits)}" if fits else "not even one fits: take a smaller network"
    return TrainingMemoryError(f"{what}: {device} has no memory for {count} images at a time; {told}", fits)


def largest_fitting(attempt: Callable[[int], object], below: int) -> int:
    """Largest n < ``below`` whose ``attempt(n)`` has memory enough, by bisection; 0 where not even 1 has."""
    fits, fails = 0, below
    while fails - fits > 1:
        middle = (fits + fails) // 2
        if torch.cuda.is_available():
            # Only what the training itself holds may count: what a failed attempt left behind goes first.
            gc.collect()
            torch.cuda.empty_cache()
        if _has_memory(attempt, middle):
            fits = middle
        else:
            fails = middle
    return fits


def _has_memory(attempt: Callable[[int], object], count: int) -> bool:
    try:
        attempt(count)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True
