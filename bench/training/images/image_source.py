"""Decoded images of a table in any order: kept in memory within a budget, else decoded each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ....datasets.batches import load_batches
from ....datasets.schema import SampleTable
from ....progress import progress as progress_bar
from ...host.errors import RunError
from ...host.options import CACHE_MB

DEFAULT_CACHE_BYTES = CACHE_MB << 20


@dataclass
class ImageSource:
    """Images (B,3,size,size) uint8 of ``table`` on the CPU.

    Batches are the same, cached or not: consecutive slices of the given order, less the images that cannot be decoded
    (``failures``, filled while they are met).
    """

    table: SampleTable
    size: int
    workers: int
    cache_bytes: int = DEFAULT_CACHE_BYTES
    failures: dict[int, str] = field(default_factory=dict)
    """Row -> image id of the images that could not be decoded so far."""
    _images: Tensor | None = field(default=None, repr=False)

    @property
    def bytes_needed(self) -> int:
        """Size of the whole table, decoded."""
        return len(self.table) * 3 * self.size * self.size

    @property
    def fits(self) -> bool:
        """Whether the decoded table fits the budget (then it is decoded once)."""
        return self.bytes_needed <= self.cache_bytes

    def batches(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, row indices (B,) int64) of every slice of ``order``; empty where none of it could be decoded."""
        images = self.decode()
        if images is None:
            yield from self._decode(order, batch_size)
            return
        for start in range(0, len(order), batch_size):
            kept = [r for r in order[start : start + batch_size] if r not in self.failures]
            rows = torch.tensor(kept, dtype=torch.int64)
            yield images[rows], rows

    def decode(self, progress: bool = False) -> Tensor | None:
        """The decoded table, where it fits the budget; ``progress``: show a bar where it is still to be decoded."""
        if self._images is None and self.fits:
            images = torch.empty((len(self.table), 3, self.size, self.size), dtype=torch.uint8)
            title = f"decoding {self.table.name} {self.table.split}"
            with progress_bar(title, len(self.table)) if progress else nullcontext() as bar:
                for part, rows in self._decode(range(len(self.table)), 64):
                    images[rows] = part
                    if bar is not None:
                        bar.advance(len(rows))
            self._images = images
        return self._images

    def _decode(self, order: Sequence[int], batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in load_batches(self.table, list(order), self.size, batch_size, self.workers, masks=False):
            self.failures.update({f.index: f.image_id for f in batch.failures})
            yield batch.images, batch.index


def checked_labels(table: SampleTable, classes: int) -> Tensor:
    """Labels (len(table),) int64 of a table, all in [0, classes).

    Raises:
        RunError: The table is empty, or a label is out of range (the message names the first such image).
    """
    if not len(table):
        raise RunError(f"{table.name} {table.split}: no images to train on")
    labels = torch.tensor(table.rows["label"][:], dtype=torch.int64)
    wrong = torch.nonzero((labels < 0) | (labels >= classes)).flatten()
    if len(wrong):
        row = int(wrong[0])
        raise RunError(
            f"{table.name} {table.split}: image {table.rows[row]['image_id']!r} has label {int(labels[row])}, but the "
            f"network has {classes} classes; train or load one for {table.num_classes} classes"
        )
    return labels
