"""Built-in per-image metrics that a run adds to its records: pointing games, insertion and deletion.

The kernels are imported at first use, so that listing the metrics compiles nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .spec import MapBatch


def pointing_game(batch: MapBatch) -> Tensor:
    """1 where the highest pixel lies within the protocol's tolerance of a ground-truth box, else 0; (B,) float64."""
    from .functional.pointing import pointing_hits

    assert batch.regions is not None
    return pointing_hits(batch.maps, batch.regions, batch.protocol.pointing_tolerance).double()


def energy_pointing_game(batch: MapBatch) -> Tensor:
    """Share of the positive map's mass within the ground-truth boxes; (B,) float64."""
    from .functional.pointing import energy_in_region

    assert batch.regions is not None
    return energy_in_region(batch.positive, batch.regions)


def deletion(batch: MapBatch) -> Tensor:
    """Area under the class score while the most salient pixels turn black; (B,) float64."""
    return _areas(batch, batch.pixels, torch.zeros_like(batch.pixels))


def insertion(batch: MapBatch) -> Tensor:
    """Area under the class score while the most salient pixels appear on the blurred image; (B,) float64."""
    from .functional.perturbation import blur

    protocol = batch.protocol
    return _areas(batch, blur(batch.pixels, protocol.insertion_blur_width, protocol.insertion_blur_sigma), batch.pixels)


def _areas(batch: MapBatch, start: Tensor, end: Tensor) -> Tensor:
    from .functional.perturbation import area_under, perturbation_curves

    areas = []
    # One forward batch an image: the steps of its curve alone fill the device.
    for image in range(len(batch.maps)):
        index = torch.tensor([image], device=start.device)

        def score(images: Tensor, index: Tensor = index) -> Tensor:
            return batch.score(images, index.expand(len(images)))

        maps = batch.maps[image : image + 1]
        areas.append(area_under(perturbation_curves(score, start[image], end[image], maps, batch.protocol.curve_steps)))
    return torch.cat(areas)
