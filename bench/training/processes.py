"""Training in several processes (``torchrun``): each takes its parts of every batch, gradients are summed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from ..host.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among ``world``; the default is a process alone."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype and device by their sums over all processes, in one exchange."""
        if self.world == 1:
            return
        flat = torch.cat([t.flatten() for t in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def gather(self, value: T) -> list[T]:
        """The value of every process, in the order of their ranks."""
        if self.world == 1:
            return [value]
        found: list[T | None] = [None] * self.world
        dist.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            dist.barrier()


@contextmanager
def joined_ranks(device: str) -> Iterator[tuple[Ranks, str]]:
    """The processes that ``torchrun`` started, joined, and this one's device; a process alone without ``torchrun``.

    Processes on CUDA take the devices of their local ranks and talk through NCCL, others through Gloo.

    Raises:
        UsageError: More processes than CUDA devices, or one named device for several processes.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks(), device
        return
    backend = "gloo"
    if torch.device(device).type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if device != "cuda":
            raise UsageError(f"--device {device}: {world} processes cannot share it; write --device cuda")
        if local >= torch.cuda.device_count():
            raise UsageError(f"process {local} of torchrun has no device: {torch.cuda.device_count()} CUDA device(s)")
        device, backend = f"cuda:{local}", "nccl"
        torch.cuda.set_device(local)
    dist.init_process_group(backend)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size()), device
    finally:
        dist.destroy_process_group()
