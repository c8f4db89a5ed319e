"""Built-in per-image metrics that a run adds to its records: pointing games, curves, sensitivity-n, sanity checks.

The kernels are imported at first use, so that listing the metrics compiles nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..hashing import id_seeds, normals, uniforms
from .spec import MapBatch, NotMeasurableError, Redraw


def pointing_game(batch: MapBatch) -> Tensor:
    """1 where the highest pixel lies within the protocol's tolerance of a ground-truth box, else 0; (B,) float64."""
    from .functional.pointing import pointing_hits

    assert batch.regions is not None
    return pointing_hits(batch.maps, batch.regions, batch.protocol.pointing_tolerance).double()


def mask_pointing_game(batch: MapBatch) -> Tensor:
    """1 where the highest pixel lies within the protocol's tolerance of the object's mask, else 0; (B,) float64."""
    from .functional.pointing import pointing_hits

    assert batch.masks is not None
    return pointing_hits(batch.maps, batch.masks == 1, batch.protocol.pointing_tolerance).double()


def top5_cls(batch: MapBatch) -> Tensor:
    """1 where the label is among the five classes of highest logit, else 0; (B,) float64."""
    from .functional.classification import top_k_hits

    if batch.logits is None or batch.labels is None:
        raise NotMeasurableError("no network stands behind these maps, so that no class is predicted")
    return top_k_hits(batch.logits, batch.labels, 5).double()


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


def road_morf(batch: MapBatch) -> Tensor:
    """Mean class score after the most relevant pixels are removed and imputed; (B,) float64."""
    return batch.once("road_morf", lambda b: _road(b, b.maps))


def road_lerf(batch: MapBatch) -> Tensor:
    """Mean class score after the least relevant pixels are removed and imputed; (B,) float64."""
    return batch.once("road_lerf", lambda b: _road(b, -b.maps))


def road(batch: MapBatch) -> Tensor:
    """(LeRF − MoRF) / 2; (B,) float64."""
    return (road_lerf(batch) - road_morf(batch)) / 2


def _road(batch: MapBatch, order: Tensor) -> Tensor:
    from .functional.removal import road_curves

    noise = batch.once("road_noise", _road_noise)
    return road_curves(_scorer(batch), batch.pixels, order, batch.protocol.road_percents, noise).mean(1)


def _road_noise(batch: MapBatch) -> Tensor:
    """One field of noise an image, the same for every map, share and order: differences of maps are not noise."""
    seeds = id_seeds(batch.image_ids, batch.pixels.device)
    noise = normals(seeds, seeds.new_zeros(()), batch.pixels[0].numel()).view_as(batch.pixels)
    return noise.mul_(batch.protocol.road_noise)


def sensitivity_n(batch: MapBatch) -> Tensor:
    """Correlation of a subset's share of the map with what the score loses without it; (B,) float64 in [−1, 1]."""
    from .functional.subsets import sensitivity_n

    protocol = batch.protocol
    side = -(-batch.maps.shape[-1] // protocol.subset_cell)
    seeds = id_seeds(batch.image_ids, batch.pixels.device)
    count = len(protocol.subset_percents) * protocol.subset_count
    keys = uniforms(seeds, seeds.new_ones(()), count * side**2)
    keys = keys.view(len(seeds), len(protocol.subset_percents), protocol.subset_count, side**2)
    return sensitivity_n(_scorer(batch), batch.pixels, batch.maps, protocol.subset_percents, keys, protocol.subset_cell)


def logit_randomisation_ssim(batch: MapBatch) -> Tensor:
    """SSIM of the map and the same method's map of another class; (B,) float64 in [−1, 1]."""
    from .functional.similarity import structural_similarity

    return structural_similarity(batch.maps, _another_class(batch))


def logit_randomisation_rank(batch: MapBatch) -> Tensor:
    """Spearman's rank correlation of the map and the same method's map of another class; (B,) float64 in [−1, 1]."""
    from .functional.similarity import rank_correlation

    return rank_correlation(batch.maps, _another_class(batch))


def weight_randomisation_ssim(batch: MapBatch) -> Tensor:
    """SSIM of the map and the maps of the network with ever more random layers, mean over steps; (B,) float64."""
    from .functional.similarity import structural_similarity

    return torch.stack([structural_similarity(batch.maps, maps) for maps in _cascade(batch)]).mean(0)


def weight_randomisation_rank(batch: MapBatch) -> Tensor:
    """As ``weight_randomisation_ssim``, with Spearman's rank correlation; (B,) float64."""
    from .functional.similarity import rank_correlation

    return torch.stack([rank_correlation(batch.maps, maps) for maps in _cascade(batch)]).mean(0)


def _another_class(batch: MapBatch) -> Tensor:
    return batch.once("another_class", lambda b: _redraw(b).another_class())


def _cascade(batch: MapBatch) -> list[Tensor]:
    steps = batch.protocol.cascade_steps
    return [
        batch.once(f"random_weights {step}", lambda b, step=step: _redraw(b).random_weights(step, steps))  # type: ignore[misc]
        for step in range(1, steps + 1)
    ]


def _redraw(batch: MapBatch) -> Redraw:
    if batch.redraw is None:
        raise ValueError("a randomisation test draws maps once more, and this batch of maps came without a network")
    return batch.redraw


def _scorer(batch: MapBatch) -> Callable[[Tensor], Tensor]:
    index = torch.arange(len(batch.maps), device=batch.pixels.device)
    return lambda images: batch.score(images, index)


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
