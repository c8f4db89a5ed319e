"""The few-shot baseline of wsolevaluation: the foreground, learned from the boxes or masks of the few images of val.

Choe et al., CVPR 2020: the network's features, a 1×1 convolution to one channel, and binary cross entropy of every
pixel with the target, which is 1 inside the ground-truth boxes (MaxBoxAcc) or masks (PxAP). Its epochs and rates are
not public: they are those of the network's own recipe here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...baselines.contracts import Backbone
from ...baselines.weights import load_metadata, load_state
from ...baselines.wsol import classifier_of, fresh
from ...datasets.batches import load_batches
from ...datasets.schema import SampleTable
from ..host.errors import RunError
from ..maps.map_files import write_map
from ..training.backbone import open_for_training
from ..training.checkpoint import save_tensors
from ..training.facts import check_same, network_facts
from ..training.images.augment import augment_pairs, to_pixels
from ..training.recipes.optim import (
    build_optimiser,
    epoch_order,
    image_seeds,
    mix,
    rate_factor,
    rate_groups,
    rng_devices,
    seed_part,
    set_rate,
)
from ..training.recipes.recipe import BackboneRecipe
from ..training.steps.guard import TrainingDivergedError, all_finite

IGNORED = 255
Told = Callable[[int, float], None]


class ForegroundNetwork(nn.Module):
    """Features of a network and a 1×1 convolution: one foreground logit a cell."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network
        self.last = nn.Conv2d(classifier_of(network).in_features, 1, 1)
        fresh(self.last)
        network.requires_grad_(True).heads.requires_grad_(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B,1,P,Q) of pixels (B,3,S,S) in [0, 1]."""
        logits: Tensor = self.last(self.network.features(self.network.normalise(pixels)))
        return logits


def box_masks(boxes: Sequence[npt.NDArray[np.int64]], side: int) -> Tensor:
    """Masks (B,side,side) uint8: 1 inside the boxes (K,4) of each image, whose edges belong to them."""
    masks = torch.zeros((len(boxes), side, side), dtype=torch.uint8)
    for mask, rows in zip(masks, boxes, strict=True):
        for left, top, right, bottom in rows.tolist():
            mask[top : bottom + 1, left : right + 1] = 1
    return masks


def pixel_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean binary cross entropy over the pixels that are not ignored (255), a scalar.

    Args:
        logits: (B,1,P,Q), brought to the size of the masks bilinearly. masks: (B,S,S) uint8 of {0, 1, 255}.
    """
    large = F.interpolate(logits.float(), masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    counts = masks != IGNORED
    each = F.binary_cross_entropy_with_logits(large, (masks == 1).float(), reduction="none")
    return (each * counts).sum() / counts.sum().clamp_min(1)


@dataclass(frozen=True)
class FewShot:
    """One few-shot baseline: its training and its maps.

    Attributes:
        name: Network with a GAP + linear head. recipe: The network's own, in float32.
        table: Split with full supervision. masks: Learn from masks, not from boxes.
        seed: Of everything random. device: Where to compute. workers: Decoding threads.
    """

    name: str
    recipe: BackboneRecipe
    table: SampleTable
    masks: bool
    seed: int
    device: str
    workers: int

    @property
    def facts(self) -> dict[str, object]:
        """What a checkpoint must have been made from."""
        targets = "masks" if self.masks else "boxes"
        return {**network_facts(self.table, self.recipe, self.seed), "targets": targets}

    def train(self, file: Path, epoch_done: Told = lambda *_: None) -> ForegroundNetwork:
        """Train into ``file``, or read it where it is there; in evaluation. An interrupted training begins anew.

        Raises:
            UsageError: ``file`` was made from other data, another recipe or seed.
            TrainingDivergedError: The loss or a parameter is not finite. RunError: No image could be decoded.
        """
        with torch.random.fork_rng(devices=rng_devices(torch.device(self.device))):
            torch.manual_seed(mix(self.seed, 0, 3))
            network = open_for_training(self.name, self.table.num_classes, self.recipe, None, self.seed)
            net = ForegroundNetwork(network).to(self.device)
            if file.is_file():
                check_same(file, self.facts, load_metadata(file))
                net.load_state_dict(load_state(file))
                return net.eval()
            optimiser = build_optimiser(self.recipe.optimiser, _groups(net, self.recipe))
            for epoch in range(self.recipe.epochs):
                epoch_done(epoch, self._epoch(net, optimiser, epoch))
        file.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(file, net.state_dict(), {**self.facts, "network": self.name})
        return net.eval()

    def _epoch(self, net: ForegroundNetwork, optimiser: torch.optim.Optimizer, epoch: int) -> float:
        """Mean loss of an epoch; whole batches only, except where there is only one."""
        table, recipe = self.table, self.recipe
        steps = max(len(table) // recipe.batch_size, 1)
        losses: list[Tensor] = []
        net.train()
        for at, (images, targets, rows) in enumerate(self._samples(epoch, steps * recipe.batch_size)):
            step = epoch * steps + at
            set_rate(optimiser, rate_factor(recipe.schedule, step, steps, recipe.epochs))
            seeds = image_seeds(self.seed, epoch, rows, len(table))
            crops, wanted = augment_pairs(images, targets, seeds, recipe.augment, recipe.size)
            seed_part(self.seed, step, 0)
            optimiser.zero_grad(set_to_none=True)
            loss = pixel_loss(net(to_pixels(crops.to(self.device), recipe.side(epoch))), wanted.to(self.device))
            loss.backward()
            optimiser.step()
            losses.append(loss.detach())
        if not losses:
            raise RunError(f"{table.name} {table.split}: none of the {len(table)} images could be decoded")
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean) or not all_finite(net):
            raise TrainingDivergedError(f"foreground of {self.name}", epoch, len(losses) - 1, {}, 0)
        return mean

    def _samples(self, epoch: int, count: int) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
        """Images (B,3,L,L) and masks (B,L,L), both uint8, and rows, of the first ``count`` of an epoch's order."""
        recipe, order = self.recipe, epoch_order(len(self.table), self.seed, epoch)[:count]
        side = recipe.augment.load_size if recipe.augment else recipe.size
        for batch in load_batches(self.table, order, side, recipe.batch_size, self.workers, masks=self.masks):
            if len(batch):
                masks = batch.masks if self.masks and batch.masks is not None else box_masks(batch.gt_boxes, side)
                yield batch.images, masks, batch.index.tolist()

    @torch.no_grad()
    def draw(self, net: ForegroundNetwork, test: SampleTable, folder: Path) -> None:
        """Write the foreground's probability (P,Q) of every image of ``test``, as maps that a run can be given."""
        rows, size = range(len(test)), self.recipe.size
        for batch in load_batches(test, rows, size, self.recipe.batch_size, self.workers, masks=False):
            if not len(batch):
                continue
            maps = net(to_pixels(batch.images.to(self.device), size)).sigmoid()[:, 0].cpu().numpy()
            for image_id, values in zip(batch.image_ids, maps, strict=True):
                parts = PurePosixPath(image_id).parts
                write_map(folder.joinpath(*parts[:-1], f"{parts[-1]}.npy"), values, "npy")


def _groups(net: ForegroundNetwork, recipe: BackboneRecipe) -> list[tuple[list[nn.Parameter], float]]:
    """Parameters of the features, and those that train at the head's rate."""
    fast = tuple(f"network.{prefix}" for prefix in recipe.head_like)
    return rate_groups(net.named_parameters(), ("last.", *fast), recipe.head_lr_factor)
