"""PxAP of resamples: histograms of the drawn images summed, or for large sets the first-order expansion of that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...jit import kernel
from ...metrics.functional.pixels import pious, pxaps
from ..scores.curves import Weights
from ..scores.per_image import PIXELS, Floats, PerImage

EXACT_IMAGES = 10_000
"""Images up to which every resample's histograms are summed; part of the definition of a resample's score."""
BATCH = 4096
"""Images whose histograms are read at a time."""
SCORED = 256
"""Resamples that a thread scores at a time."""


def resampled_pxap(triple: PerImage, weights: Sequence[Weights], pool: ThreadPoolExecutor) -> Floats:
    """PxAP (S,) of resamples of at most ``EXACT_IMAGES`` images; sums of whole numbers, so exact however they are cut.

    Args:
        triple: Records with histograms. weights: How often each image is drawn, uint8 (n,s) a block. pool: Threads.
    """
    counts = np.concatenate([batch.reshape(len(batch), -1) for batch in _rebatched(triple)])
    # float32 holds sums of whole numbers up to 2^24 exactly; the few columns beyond (empty regions) take float64.
    largest = max(int(w.max(initial=0)) for w in weights)
    heavy = np.flatnonzero(counts.sum(axis=0, dtype=np.int64) * largest >= 2**24)
    wide, counts = counts[:, heavy].astype(np.float64), counts.astype(np.float32)

    # One product for all blocks: the library has threads of its own, and products side by side would wait for them.
    drawn = np.ascontiguousarray(np.concatenate(weights, axis=1).T)
    summed, apart = drawn.astype(np.float32) @ counts, drawn.astype(np.float64) @ wide

    def score(first: int) -> Floats:
        part = slice(first, first + SCORED)
        exact = summed[part].astype(np.float64)
        exact[:, heavy] = apart[part]
        values = np.empty(len(exact))
        _average_precisions(exact, values)
        return values

    return np.concatenate(list(pool.map(score, range(0, len(drawn), SCORED))))


def resampled_piou(triple: PerImage, weights: Sequence[Weights]) -> Floats:
    """Peak IoU (S,) of resamples, of any number of images: the histograms of an image are drawn together.

    Args:
        triple: Records with histograms. weights: How often each image is drawn, uint8 (n,s) a block.
    """
    drawn = np.concatenate(weights, axis=1)
    summed: Floats = np.zeros(())
    first = 0
    for batch in _rebatched(triple):
        # Whole numbers below 2^53, so the sums are exact.
        part = drawn[first : first + len(batch)].T.astype(np.float64)
        summed = summed + part @ batch.reshape(len(batch), -1).astype(np.float64)
        first += len(batch)
    counts = torch.from_numpy(np.asarray(summed)).view(drawn.shape[1], 2, -1)
    some = counts[:, 1].sum(-1) > 0
    scores = torch.full((len(counts),), torch.nan, dtype=torch.float64)
    scores[some] = pious(counts[some])
    found: Floats = scores.numpy()
    return found


def pxap_influence(triple: PerImage) -> tuple[float, Floats]:
    """PxAP of all images, and each image's influence ψ (n,) on it: PxAP of weights w is PxAP + Σ w_i·ψ_i + O(|w − 1|²).

    PxAP is a smooth function of the summed histograms H, whatever their scale: ψ_i = ∂PxAP/∂H · h_i, and Σ ψ_i = 0.
    The remainder is of the order n^(-1/2) of the standard error: 1 % of it at 10,000 images, where the error of the
    quantiles of 10,000 resamples begins.

    Source: von Mises expansion; Davison & Hinkley, Bootstrap Methods and their Application, 1997, section 2.7.2.
    """
    total = sum(batch.sum(axis=0, dtype=np.int64) for batch in _rebatched(triple))
    leaf = torch.from_numpy(np.asarray(total)).double().requires_grad_()
    with torch.enable_grad():
        score = pxaps(leaf[None])[0]
        (slope,) = torch.autograd.grad(score, leaf)
    flat = slope.flatten().numpy()
    influence = [batch.reshape(len(batch), -1).astype(np.float64) @ flat for batch in _rebatched(triple)]
    return float(score.detach()), np.concatenate(influence)


def _rebatched(triple: PerImage) -> Iterator[npt.NDArray[np.integer[Any]]]:
    """The histograms (m,2,K) in batches of some thousand images, whatever the shards."""
    held: list[npt.NDArray[np.integer[Any]]] = []
    for batch in triple.run.batches(triple.triple, [PIXELS]):
        held.append(batch[PIXELS])
        if sum(map(len, held)) >= BATCH:
            yield np.concatenate(held)
            held = []
    if held:
        yield np.concatenate(held)


@kernel
def _average_precisions(histograms: Floats, values: Floats) -> None:
    """``pxaps`` of histograms (S,2·K), background before foreground, into values (S,); NaN without object pixels."""
    bins = histograms.shape[1] // 2
    for s in range(len(values)):
        objects = 0.0
        for k in range(bins, 2 * bins):
            objects += histograms[s, k]
        if objects == 0.0:
            values[s] = np.nan
            continue
        fp = histograms[s, bins - 1]
        tp = histograms[s, 2 * bins - 1]
        area = 0.0
        for k in range(bins - 2, -1, -1):
            found = histograms[s, bins + k]
            fp += histograms[s, k]
            tp += found
            # No pixel found adds no recall; dividing by an empty prefix would not be a number.
            if found > 0.0:
                area += tp / (tp + fp) * found
        values[s] = 100.0 * area / objects
