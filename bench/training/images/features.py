"""Features of a frozen backbone for head training: computed once and kept, or streamed where they would not fit.

What is cached is the head's input itself, F (B,N,P,Q) in the dtype that the backbone returns. For a GAP + linear head
it is F's spatial mean (B,N,1,1) instead: the mean of one cell is that cell, so the head computes the same function, bit
for bit where it pools with ``Tensor.mean``, up to the order of float summation where it does not. For an MLP head it is
F pooled to the MLP's cells, for a head behind a frozen block of a transformer what that block makes of F. Which it was,
and the dtype, are part of the training record.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from ....baselines.contracts import Backbone, Head
from ....datasets.schema import SampleTable
from ....progress import progress as progress_bar
from ...host.memory import with_memory
from ..means import Means
from ..recipes.optim import image_seeds
from ..recipes.recipe import Augment, HeadRecipe
from .augment import augment_images, to_pixels
from .image_source import DEFAULT_CACHE_BYTES, ImageSource

Reduction = Callable[[Tensor], Tensor]
VERIFIED = 4
"""Images on which a reduction is tried (the heads run four times, and a VGG's is large)."""


class FeatureSource:
    """Features and row numbers of a table, in any order, for heads on a frozen ``backbone``.

    Args:
        backbone: Network on ``device``; it is put into evaluation mode and runs without autograd.
        images: Decoded images; its ``size`` is the augmentation's ``load_size`` where there is one.
        heads: The heads that will read the features (all must allow a reduction for it to be made).
        size: Side of the network's input in pixels.
        augment: Augmentation, or None. With augmentation there is nothing to cache: every epoch is a backbone pass.
        means: Where the backbone runs and the features live, the budget of the cached ones there, and the images a
            batch of the caching pass.

    Attributes:
        passes: Backbone passes over the table so far (the caching one, or one in each epoch).
        cached: Whether the features are kept; known after the first epoch has begun, None before.
        pooled: Whether they are F's spatial means, or all that the heads read of F.
        dtype: Dtype of the features, or None before the first batch.
        bytes_needed: Size of the features of the whole table.
    """

    def __init__(
        self,
        backbone: Backbone,
        images: ImageSource,
        heads: Sequence[Head],
        *,
        size: int,
        augment: Augment | None,
        means: Means,
    ) -> None:
        self.backbone, self.images, self.heads = backbone.freeze(), images, list(heads)
        self.size, self.augment = size, augment
        self.device, self.cache_bytes, self.pass_batch = torch.device(means.device), means.cache_bytes, means.pass_batch
        self.passes, self.bytes_needed = 0, 0
        self.cached: bool | None = None
        self.pooled = False
        self.dtype: torch.dtype | None = None
        self._reduce: Reduction = _as_it_is
        self._cache: Tensor | None = None

    def epoch(
        self, order: Sequence[int], batch_size: int, seed: int = 0, epoch: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(features on ``device``, row numbers (B,) int64 on the CPU) over ``order``, in batches of ``batch_size``.

        The augmentation, where there is one, depends on ``seed``, ``epoch`` and row. Raises BatchMemoryError where a
        batch does not fit.

        Cached or streamed, the batches hold the same images; the features are equal up to float rounding (a
        convolution may choose another algorithm for another batch).
        """
        if self.cached is None:
            self._decide()
        if self._cache is None:
            self.passes += 1
            for pixels, rows in self.images.batches(order, batch_size):
                if len(rows):
                    yield self._features(self._augmented(pixels, rows, seed, epoch)), rows
            return
        failures = self.images.failures
        for start in range(0, len(order), batch_size):
            rows = torch.tensor([r for r in order[start : start + batch_size] if r not in failures], dtype=torch.int64)
            if len(rows):
                yield self._cache[rows.to(self._cache.device)], rows

    def kept(self, progress: bool = False) -> Tensor | None:
        """The cached features of the whole table, by row (zeros where an image could not be decoded), or None.

        ``progress``: show a bar for the pass that makes them, where it is still to be made.
        """
        if self.cached is None:
            self._decide(progress)
        return self._cache

    def _decide(self, progress: bool = False) -> None:
        """Look at one batch: can the features be pooled, do they fit? Then run the caching pass, or leave it."""
        everything = range(len(self.images.table))
        self.images.decode(progress)
        batches = (b for b in self.images.batches(everything, self.pass_batch) if len(b[1]))
        first = next(batches, None)
        self.cached = False
        if first is None:
            return
        whole = self._features(self._augmented(*first, 0, 0))
        self._reduce = exact_reduction(self.heads, whole[:VERIFIED])
        self.pooled = self._reduce is not _as_it_is
        features = self._reduce(whole)
        self.dtype = features.dtype
        self.bytes_needed = features[0].numel() * features.element_size() * len(everything)
        if self.augment is not None or self.bytes_needed > self.cache_bytes:
            self.pooled = False
            return
        self.cached, self.passes = True, 1
        self._cache = torch.zeros((len(everything), *features.shape[1:]), dtype=features.dtype, device=self.device)
        title = f"{self.backbone.name}: features of {self.images.table.name} {self.images.table.split}"
        with progress_bar(title, len(everything)) if progress else nullcontext() as bar:
            for pixels, rows in itertools.chain([first], batches):
                part = features if pixels is first[0] else self._reduce(self._features(pixels))
                self._cache[rows.to(self.device)] = part
                if bar is not None:
                    bar.advance(len(rows))

    def _augmented(self, images: Tensor, rows: Tensor, seed: int, epoch: int) -> Tensor:
        seeds = image_seeds(seed, epoch, rows.tolist(), len(self.images.table)) if self.augment else ()
        return augment_images(images, seeds, self.augment, self.size)

    def _features(self, images: Tensor) -> Tensor:
        return with_memory(
            lambda count: self._forward(images[:count]),
            f"{self.backbone.name} on {self.images.table.name}",
            len(images),
            self.device,
            lambda fits: f"set batch_size {fits} in the recipe" if self.augment else f"give --pass-batch {fits}",
        )

    @torch.no_grad()
    def _forward(self, images: Tensor) -> Tensor:
        pixels = to_pixels(images.to(self.device, non_blocking=True), self.size)
        return self.backbone.features(self.backbone.normalise(pixels))


def feature_source(
    backbone: Backbone,
    table: SampleTable,
    recipe: HeadRecipe,
    heads: Sequence[Head],
    means: Means,
    images: ImageSource | None = None,
) -> FeatureSource:
    """Features of a training table, to be shared by the trainings of several ``heads`` on one frozen backbone.

    ``images``: its decoded images, where several backbones share them (``image_source``).
    """
    return FeatureSource(
        backbone.to(means.device),
        images or image_source(table, recipe, means.workers, means.cache_bytes if recipe.augment else 0),
        [*heads, backbone.head("softmax")],
        size=recipe.size,
        augment=recipe.augment,
        means=means,
    )


def image_source(
    table: SampleTable, recipe: HeadRecipe, workers: int, cache_bytes: int = DEFAULT_CACHE_BYTES
) -> ImageSource:
    """Decoded images of a training table at the size that the recipe loads; kept in memory within ``cache_bytes``."""
    return ImageSource(table, recipe.augment.load_size if recipe.augment else recipe.size, workers, cache_bytes)


def _as_it_is(features: Tensor) -> Tensor:
    return features


def _mean(features: Tensor) -> Tensor:
    return features.mean((-2, -1), keepdim=True)


def exact_reduction(heads: Sequence[Head], features: Tensor) -> Reduction:
    """What can be kept of F (B,N,R,Q) in its place: its mean, what a head's frozen part makes of it, or F itself."""
    if pooling_is_exact(heads, features):
        return _mean
    if not heads or not features.is_floating_point():
        return _as_it_is
    # A head that reads more cannot be asked of what one that reads less keeps (the class token, without patches).
    with torch.no_grad():
        most = max(heads, key=lambda head: head.condense(features).numel())
    return most.condense if _is_exact(heads, features, most.condense) else _as_it_is


def pooling_is_exact(heads: Sequence[Head], features: Tensor) -> bool:
    """Whether every head computes the same from F (B,N,P,Q) and from its spatial mean (B,N,1,1), up to rounding.

    Declared by ``head.kind == "gap_linear"`` and verified on ``features``.
    """
    return all(h.kind == "gap_linear" for h in heads) and _is_exact(heads, features, _mean)


@torch.no_grad()
def _is_exact(heads: Sequence[Head], features: Tensor, reduce: Reduction) -> bool:
    if not features.is_floating_point():
        return False
    reduced = reduce(features)
    if reduced is features:
        return False
    for head in heads:
        training = head.training
        head.eval()
        whole, part = head(features), head(reduced)
        head.train(training)
        scale = max(float(whole.abs().max()), 1e-12)
        if float((whole - part).abs().max()) > 1e-4 * scale:
            return False
    return True
