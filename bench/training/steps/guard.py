"""Trainings whose numbers are no longer finite: they stop, say where, and keep the last good state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ...host.errors import RunError


class TrainingDivergedError(RunError):
    """The loss or a parameter is no longer finite. ``state`` is the last good one.

    ``epoch`` and ``step`` count from 0, the message from 1.
    ``good_epochs``: completed epochs that ``state`` has behind it (0: as initialised).
    """

    def __init__(
        self, what: str, epoch: int, step: int, state: Mapping[str, Tensor], good_epochs: int, subject: str = "loss"
    ) -> None:
        super().__init__(
            f"{what}: the {subject} is not finite at step {step + 1} of epoch {epoch + 1}; kept the state after "
            f"{good_epochs} completed epoch(s). Lower optimiser.lr in the recipe, or check the images"
        )
        self.epoch, self.step, self.state, self.good_epochs = epoch, step, dict(state), good_epochs


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
