"""Top-1 accuracy of a network's branches over a split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...baselines.contracts import Backbone
from ...datasets.schema import SampleTable
from ..host.errors import RunError
from .images.image_source import ImageSource, checked_labels
from .means import PASS_BATCH

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@torch.no_grad()
def top1(
    backbone: Backbone,
    table: SampleTable,
    size: int,
    device: str | torch.device,
    workers: int = 2,
    fabric: Fabric | None = None,
) -> dict[str, float]:
    """Top-1 accuracy in percent of every branch of a frozen backbone over the decodable images of a split.

    Several processes (``fabric``) share the images; each gets the accuracy over all.

    Raises:
        RunError: The split is empty, a label is out of range, or no image could be decoded.
    """
    device = torch.device(device)
    rank, world = (fabric.global_rank, fabric.world_size) if fabric is not None else (0, 1)
    backbone.to(device).freeze()
    labels = checked_labels(table, backbone.num_classes).to(device)
    images = ImageSource(table, size, workers, cache_bytes=0)
    names = list(backbone.heads)
    counts = torch.zeros(len(names) + 1, dtype=torch.int64, device=device)
    for pixels, rows in images.batches(range(rank, len(table), world), PASS_BATCH):
        if not len(rows):
            continue
        features = backbone.features(backbone.normalise(pixels.to(device).float().div_(255)))
        for slot, name in enumerate(names):
            counts[slot] += (backbone.heads[name](features).argmax(1) == labels[rows.to(device)]).sum()
        counts[-1] += len(rows)
    if fabric is not None:
        fabric.all_reduce(counts, reduce_op="sum")
    *hits, seen = counts.tolist()
    if not seen:
        raise RunError(f"{table.name} {table.split}: none of the {len(table)} images could be decoded")
    return {name: 100.0 * count / seen for name, count in zip(names, hits, strict=True)}
