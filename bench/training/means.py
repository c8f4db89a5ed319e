"""With what a training is done, as against what is trained: device, memory, threads, files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from .images.image_source import DEFAULT_CACHE_BYTES
from .steps.log import TrainingLog

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PASS_BATCH = 32
"""Images a batch of the one pass that caches features."""
SAVE_SECONDS = 600.0
"""Time between two resumable states within an epoch."""


@dataclass(frozen=True)
class Means:
    """With what a training is done; none of it changes a result beyond float rounding.

    Attributes:
        device: Where to compute.
        progress: Show a bar (a few lines where there is no terminal).
        workers: Decoding threads.
        cache_bytes: Budget in bytes for cached features, and for decoded images where features are streamed or the
            whole network is trained.
        pass_batch: Images a batch of the pass that caches features.
        state_file: Where the state goes from which a killed training goes on, on the CPU with the same result to the
            bit; removed by the caller once the result is safe.
        save_seconds: Time between states within an epoch of a network's training (0: after every step).
        log: Where curves go.
        fabric: Device, precision and processes of a network's training (``open_fabric``); in its place, ``device`` and
            the recipe's dtype.
    """

    device: str | torch.device = "cpu"
    progress: bool = False
    workers: int = 2
    cache_bytes: int = DEFAULT_CACHE_BYTES
    pass_batch: int = PASS_BATCH
    state_file: Path | None = None
    save_seconds: float = SAVE_SECONDS
    log: TrainingLog | None = None
    fabric: Fabric | None = None


PLAIN_MEANS = Means()
"""The CPU, without a bar, files or curves."""
