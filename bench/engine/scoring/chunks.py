"""Which batch, and which chunks of re-scored images, a device has memory for."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ....datasets.schema import Batch
from ...host.memory import BatchMemoryError, largest_fitting, memory_error
from .reading import Reading

MIB = 2**20


def does_not_fit(begin: Callable[[Batch], object], reading: Reading, batch: Batch, what: str) -> BatchMemoryError:
    """The error for a batch that memory ran out for, with the largest batch and chunks that fit.

    Methods that re-score images fill a chunk with copies of a smaller batch, so that a smaller batch alone takes as
    much: it is looked for with the smallest chunks, and then the largest chunks that fit beside it.

    Args:
        begin: The pass of a batch.
        reading: What it reads through; its ``chunk_bytes`` stay as they are.
        batch: What did not fit.
        what: What was computed, in words.
    """
    given = reading.chunk_bytes

    def attempt(images: int, mib: int = 1) -> None:
        reading.chunk_bytes = mib * MIB
        try:
            begin(batch if images == len(batch) else batch.head(images))
        finally:
            reading.chunk_bytes = given

    def advice(fits: int) -> str:
        mib = largest_fitting(lambda mib: attempt(fits, mib), given // MIB + 1)
        if mib < given // MIB:
            # Whole copies of so many images were seen to fit; fewer images, as a shard's last, may be no more.
            copies = fits * batch.images[0].numel() * torch.float32.itemsize
            mib = max(1, max(1, mib * MIB // copies) * copies // MIB)
        options = [f"--batch-size {fits}"] if fits < len(batch) else []
        options += [f"--chunk-mib {mib}"] if mib < given // MIB else []
        if not options:
            return "the same command, as it fitted when it was tried again"
        return f"give {' '.join(options)}, and another --out, as these belong to a run"

    return memory_error(what, len(batch), reading.device, attempt, advice, frugal=True)
