"""Augmentation by torchvision's transforms, one image at a time, each by a seed of its own.

An image's crop depends on the training's seed, the epoch and its row alone: not on the batch, the part or the process
that it falls into, nor on where a training was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..recipes.optim import seed_generators
from ..recipes.recipe import Augment


def augment_images(images: Tensor, seeds: Sequence[int], spec: Augment | None, crop: int) -> Tensor:
    """Random windows (B,3,crop,crop) uint8 of images (B,3,L,L) uint8 on the CPU, flipped and jittered by ``spec``.

    ``seeds``: one for each image (``image_seeds``). The global generators are left as the last image left them; call it
    inside ``torch.random.fork_rng``. Without ``spec`` the images are given back.
    """
    if spec is None or not len(images):
        return images
    transform = _transform(spec, crop)
    augmented = []
    for image, seed in zip(images, seeds, strict=True):
        seed_generators(seed)
        augmented.append(transform(image))
    return torch.stack(augmented)


def augment_pairs(
    images: Tensor, masks: Tensor, seeds: Sequence[int], spec: Augment | None, crop: int
) -> tuple[Tensor, Tensor]:
    """The windows of ``augment_images``, and the same windows (B,crop,crop) of masks (B,L,L) uint8, as flipped."""
    from torchvision.tv_tensors import Mask

    if spec is None or not len(images):
        return images, masks
    transform = _transform(spec, crop)
    pairs = []
    for image, mask, seed in zip(images, masks, seeds, strict=True):
        seed_generators(seed)
        pairs.append(transform(image, Mask(mask)))
    return torch.stack([image for image, _ in pairs]), torch.stack([torch.as_tensor(mask) for _, mask in pairs])


def to_pixels(images: Tensor, side: int) -> Tensor:
    """Pixels (B,3,side,side) float32 in [0, 1] of images (B,3,L,L) uint8, by an anti-aliased resize where L differs."""
    pixels = images.float().div_(255)
    if pixels.shape[-1] == side:
        return pixels
    from torchvision.transforms.v2 import functional

    resized: Tensor = functional.resize(pixels, [side, side], antialias=True)
    return resized


@cache
def _transform(spec: Augment, crop: int) -> Callable[..., Any]:
    from torchvision.transforms import v2

    steps: list[Callable[[Tensor], Tensor]] = [v2.RandomCrop(crop)]
    if spec.flip:
        steps.append(v2.RandomHorizontalFlip())
    if spec.brightness or spec.contrast or spec.saturation:
        steps.append(v2.ColorJitter(spec.brightness, spec.contrast, spec.saturation))
    composed: Callable[..., Any] = v2.Compose(steps)
    return composed
