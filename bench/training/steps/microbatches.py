"""One batch in parts: for gradient accumulation, and for several processes that share a batch.

A batch of B images is cut into K parts by position, whoever computes them: K parts in one process, or K processes with
one part each, give the same step up to the order of float sums. BatchNorm normalises each part by its own statistics;
its running statistics are the mean over the parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...host.errors import UsageError


@dataclass(frozen=True)
class Parts:
    """Positions of a batch of ``batch`` images that this process computes, part by part."""

    batch: int
    count: int
    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, batch: int, accumulate: int, rank: int = 0, world: int = 1) -> Parts:
        """``accumulate`` parts, and at least one for each of ``world`` processes.

        Raises:
            UsageError: The parts cannot be shared equally by the processes, or there are more parts than images.
        """
        count = max(accumulate, world)
        if count % world:
            raise UsageError(
                f"a batch in {count} parts cannot be shared by {world} processes: choose --accumulate as a "
                f"multiple of {world}"
            )
        if count > batch:
            raise UsageError(f"a batch of {batch} images cannot be cut into {count} parts")
        return cls(batch, count, rank, world)

    def bounds(self, part: int) -> tuple[int, int]:
        """First position of a part, and the one after its last."""
        small, more = divmod(self.batch, self.count)
        return part * small + min(part, more), (part + 1) * small + min(part + 1, more)

    @property
    def mine(self) -> range:
        """The parts of this process."""
        each = self.count // self.world
        return range(self.rank * each, (self.rank + 1) * each)

    @property
    def span(self) -> tuple[int, int]:
        """First position of this process in a batch, and the one after its last."""
        return self.bounds(self.mine[0])[0], self.bounds(self.mine[-1])[1]

    def smaller(self, largest: int) -> int:
        """The fewest parts, a multiple of the processes, none of which has more than ``largest`` images."""
        count = -(-self.batch // largest)
        return -(-count // self.world) * self.world


class RunningStatistics:
    """Running mean and variance of a network's BatchNorm layers while a batch goes through in parts."""

    def __init__(self, network: nn.Module) -> None:
        norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        self._buffers: list[Tensor] = [b for m in norms for b in (m.running_mean, m.running_var) if b is not None]
        self._before: list[Tensor] = []
        self.sums: list[Tensor] = []
        """Weighted sums over the parts so far, one a buffer."""

    def begin(self) -> None:
        """Remember the statistics before the batch."""
        self._before = [b.clone() for b in self._buffers]
        self.sums = [torch.zeros_like(b) for b in self._buffers]

    def add(self, weight: float) -> None:
        """A part of that weight went through: count what it made of the statistics, and put the old ones back."""
        for buffer, total, before in zip(self._buffers, self.sums, self._before, strict=True):
            total.add_(buffer, alpha=weight)
            buffer.copy_(before)

    def finish(self, weight: Tensor) -> None:
        """The mean over all parts, whose weights sum to ``weight`` (a scalar); nothing changes where that is 0."""
        for buffer, total in zip(self._buffers, self.sums, strict=True):
            buffer.copy_(torch.where(weight > 0, total / weight.clamp_min(1e-12), buffer))
