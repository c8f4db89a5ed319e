"""Image bootstrap: how often each image is drawn, and what every metric says of each resample."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...jit import kernel
from ..scores.curves import Counts, Weights
from ..scores.per_image import Floats, PerImage
from ..scores.reduce import reports_piou
from .resample_pixels import EXACT_IMAGES, pxap_influence, resampled_piou, resampled_pxap

BLOCK = 128
"""Resamples that share a generator; part of the definition of a resample, like the seed."""
WEIGHT_BYTES = 128 << 20
"""Memory of the weights that are held at a time; it changes no result."""
CHUNK = 1024
"""Images of a matrix product."""
GROUP = 16
"""Blocks whose weights and sums are held at most."""


@dataclass(frozen=True)
class ResamplePlan:
    """Resamples of n images with replacement: n draws each, the same for every triple.

    Attributes:
        images: n. count: Resamples S. seed: Of the draws; the first resamples do not depend on ``count``.
    """

    images: int
    count: int
    seed: int

    def weights(self, block: int) -> Weights:
        """How often each image is drawn, uint8 (n,s), in the up to 128 resamples of a block."""
        size = min(BLOCK, self.count - block * BLOCK)
        draws = np.random.default_rng([self.seed, block]).integers(0, self.images, (size, self.images), np.uint32)
        # 255 draws of one image out of n > 255 have a probability below 1e-500.
        weights = np.zeros((self.images, size), np.uint8)
        _tally(draws, weights)
        return weights

    def groups(self) -> Iterator[range]:
        """Blocks whose weights are held together."""
        blocks = -(-self.count // BLOCK)
        step = min(GROUP, max(1, WEIGHT_BYTES // (BLOCK * self.images)))
        for start in range(0, blocks, step):
            yield range(start, min(start + step, blocks))


def resampled_scores(
    triples: Sequence[PerImage], plan: ResamplePlan, threads: int | None = None
) -> list[dict[str, Floats]]:
    """Every metric of every triple in every resample: per triple, metric -> float64 (S,).

    The threshold of MaxBoxAcc and MaxBoxAccV2 (and of the Loc scores under an ``oracle`` protocol) is chosen anew in
    each resample. PxAP resamples images: the histograms of an image are drawn together; above ``EXACT_IMAGES`` images
    it is the first-order expansion of that (``pxap_influence``).

    Args:
        triples: Records over the same images in the same order.
        plan: The resamples.
        threads: Worker threads (default: the cores that this process may use); no result depends on it.

    Raises:
        ValueError: The triples are not over ``plan.images`` images.
    """
    for triple in triples:
        if triple.images != plan.images:
            raise ValueError(f"{triple.triple} has {triple.images} images, the resamples {plan.images}")
    found: list[dict[str, list[Floats]]] = [{} for _ in triples]
    with ThreadPoolExecutor(threads or usable_cores()) as pool:
        many = plan.images > EXACT_IMAGES
        expanded = list(pool.map(lambda t: pxap_influence(t) if many and t.has_pixels else None, triples))
        # The influences are summed with the other columns: one pass over the weights for all.
        influences = [one[1][:, None] for one in expanded if one is not None]
        columns = np.concatenate([*(t.values for t in triples), *influences], axis=1)
        for blocks in plan.groups():
            counted = list(pool.map(lambda b: _count(plan, triples, b), blocks))
            weights = [w for w, _ in counted]
            sums = _weighted_sums(columns, weights)
            first, influence = 0, iter(sums[columns.shape[1] - len(influences) :])
            for i, triple in enumerate(triples):
                own = sums[first : first + len(triple.names)]
                first += len(triple.names)
                _append(found[i], _scores(triple, own, [best[i] for _, best in counted]))
                expansion = expanded[i]
                if expansion is not None:
                    _append(found[i], {"pxap": expansion[0] + next(influence)})
                elif triple.has_pixels:
                    _append(found[i], {"pxap": resampled_pxap(triple, weights, pool)})
                if triple.has_pixels and reports_piou(triple.run.manifest):
                    _append(found[i], {"piou": resampled_piou(triple, weights)})
    return [{name: np.concatenate(parts) for name, parts in one.items()} for one in found]


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(plan: ResamplePlan, triples: Sequence[PerImage], block: int) -> tuple[Weights, list[Counts | None]]:
    weights = plan.weights(block)
    return weights, [_best_counts(t, weights) for t in triples]


def _best_counts(triple: PerImage, weights: Weights) -> Counts | None:
    return None if triple.curves is None else triple.best_counts(triple.curves.count(weights))


def _append(found: dict[str, list[Floats]], new: dict[str, Floats]) -> None:
    for name, values in new.items():
        found.setdefault(name, []).append(values)


def _scores(triple: PerImage, sums: Floats, best: Sequence[Counts | None]) -> dict[str, Floats]:
    whole = [b for b in best if b is not None]
    return triple.scores(sums, np.concatenate(whole, axis=1) if whole else None)


def _weighted_sums(values: Floats, weights: Sequence[Weights]) -> Floats:
    """Sums (k,S) of columns (n,k) under weights (n,S)."""
    sums = np.zeros((values.shape[1], sum(w.shape[1] for w in weights)))
    for start in range(0, len(values), CHUNK):
        part = slice(start, start + CHUNK)
        sums += values[part].T @ np.concatenate([w[part] for w in weights], axis=1).astype(np.float64)
    return sums


@kernel
def _tally(draws: npt.NDArray[np.uint32], weights: Weights) -> None:
    for resample in range(draws.shape[0]):
        for k in range(draws.shape[1]):
            weights[draws[resample, k], resample] += 1
