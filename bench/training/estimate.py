"""What the steps of a reproduction may cost: one short forward of each network, and what its head training keeps."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from ...baselines.backbones import layout_of, open_backbone
from .images.features import exact_reduction
from .recipes.recipe import HeadRecipe

TRAINING_FORWARDS = 3.0
"""A training step costs about three forwards (forward, and a backward of twice its work)."""


@dataclass(frozen=True)
class NetworkCost:
    """Of one image at 224×224: ``seconds`` of a forward; ``kept`` bytes of features for the training of its head."""

    seconds: float
    kept: int

    def head_passes(self, images: int, recipe: HeadRecipe, cache_bytes: int) -> int:
        """Backbone passes of a head's training on so many images: one where their features fit the cache."""
        fits = recipe.augment is None and images * self.kept <= cache_bytes
        return 1 if fits else recipe.epochs


def measure(name: str, device: torch.device, batch: int) -> NetworkCost:
    """The better of two tries, with parameters of 0; ``batch``: images at a time on a device that is not the CPU."""
    # Drawing the parameters of the paper's networks would take longer than the forward; others probe themselves.
    with torch.device("meta" if layout_of(name) else "cpu"):
        network = open_backbone(name, pretrained=False)
    network = network.to_empty(device=device)
    for tensor in network.state_dict().values():
        tensor.zero_()
    count = 1 if device.type == "cpu" else batch
    images = torch.zeros(count, 3, 224, 224, device=device)
    best, kept = float("inf"), 0
    with torch.no_grad():
        for _ in range(2):
            start = time.perf_counter()
            features = network.features(images)
            float(network.head()(features).sum())
            best = min(best, time.perf_counter() - start)
        reduced = exact_reduction([network.head()], features)(features)
        kept = reduced[0].numel() * reduced.element_size()
    return NetworkCost(best / count, kept)
