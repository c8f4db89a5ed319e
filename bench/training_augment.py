"""Augmentation of whole batches on their device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .recipe import Augment

_GREY = (0.299, 0.587, 0.114)


def augment_batch(images: Tensor, spec: Augment | None, crop: int, side: int) -> Tensor:
    """Pixels (B,3,side,side) float in [0, 1] of images (B,3,L,L) uint8.

    A random ``crop`` × ``crop`` window, a flip and colour jitter per image (none for ``spec=None``), then an
    anti-aliased resize where ``side`` differs. Draws from the global generators, always the same number of values.
    """
    if spec is None:
        pixels = images.float().div_(255)
    else:
        pixels = _jitter(_crop_and_flip(images, spec.flip, crop).float().div_(255), spec)
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return pixels


def _crop_and_flip(images: Tensor, flip: bool, crop: int) -> Tensor:
    batch, _, height, width = images.shape
    if min(height, width) < crop:
        raise ValueError(f"cannot crop {crop}×{crop} from images of {height}×{width}")
    draws = torch.rand(3, batch, 1, device=images.device)
    steps = torch.arange(crop, device=images.device)
    rows = (draws[0] * (height - crop + 1)).long() + steps
    columns = (draws[1] * (width - crop + 1)).long() + steps
    if flip:
        columns = torch.where(draws[2] < 0.5, columns.flip(1), columns)
    index = torch.arange(batch, device=images.device)[:, None, None]
    # Advanced indices around the channel slice put channels last: (B,crop,crop,3).
    return images[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _jitter(pixels: Tensor, spec: Augment) -> Tensor:
    brightness, contrast, saturation = (
        1 + width * (2 * torch.rand(len(pixels), 1, 1, 1, device=pixels.device) - 1)
        for width in (spec.brightness, spec.contrast, spec.saturation)
    )
    if not (spec.brightness or spec.contrast or spec.saturation):
        return pixels
    pixels = pixels * brightness
    weights = torch.tensor(_GREY, device=pixels.device, dtype=pixels.dtype).view(1, 3, 1, 1)
    grey = (pixels * weights).sum(1, keepdim=True)
    pixels = torch.lerp(grey, pixels, saturation)
    mean = grey.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, pixels, contrast).clamp_(0, 1)
