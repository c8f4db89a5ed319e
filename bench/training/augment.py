"""Augmentation of whole batches on their device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .recipe import Augment

_GREY = (0.299, 0.587, 0.114)


def draw(count: int, device: torch.device) -> Tensor:
    """Uniform numbers (6,count) for the augmentation of ``count`` images, from the device's global generator.

    One column an image: row, column and flip of the crop; brightness, contrast, saturation.
    """
    place = torch.rand(3, count, 1, device=device)
    colour = [torch.rand(count, 1, 1, 1, device=device) for _ in range(3)]
    return torch.cat([place[..., 0], torch.stack(colour)[..., 0, 0, 0]])


def augment_batch(images: Tensor, draws: Tensor, spec: Augment | None, crop: int, side: int) -> Tensor:
    """Pixels (B,3,side,side) float in [0, 1] of images (B,3,L,L) uint8, by the numbers (6,B) of ``draw``.

    A random ``crop`` × ``crop`` window, a flip and colour jitter per image (none for ``spec=None``), then an
    anti-aliased resize where ``side`` differs.
    """
    if spec is None:
        pixels = images.float().div_(255)
    else:
        pixels = _crop_and_flip(images, draws[:3, :, None], spec.flip, crop).float().div_(255)
        if spec.brightness or spec.contrast or spec.saturation:
            pixels = _jitter(pixels, draws[3:, :, None, None, None], spec)
    if pixels.shape[-1] != side:
        pixels = F.interpolate(pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
    return pixels


def _crop_and_flip(images: Tensor, draws: Tensor, flip: bool, crop: int) -> Tensor:
    batch, _, height, width = images.shape
    if min(height, width) < crop:
        raise ValueError(f"cannot crop {crop}×{crop} from images of {height}×{width}")
    steps = torch.arange(crop, device=images.device)
    rows = (draws[0] * (height - crop + 1)).long() + steps
    columns = (draws[1] * (width - crop + 1)).long() + steps
    if flip:
        columns = torch.where(draws[2] < 0.5, columns.flip(1), columns)
    index = torch.arange(batch, device=images.device)[:, None, None]
    # Advanced indices around the channel slice put channels last: (B,crop,crop,3).
    return images[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _jitter(pixels: Tensor, draws: Tensor, spec: Augment) -> Tensor:
    widths = (spec.brightness, spec.contrast, spec.saturation)
    brightness, contrast, saturation = (1 + w * (2 * d - 1) for w, d in zip(widths, draws, strict=True))
    pixels = pixels * brightness
    weights = torch.tensor(_GREY, device=pixels.device, dtype=pixels.dtype).view(1, 3, 1, 1)
    grey = (pixels * weights).sum(1, keepdim=True)
    pixels = torch.lerp(grey, pixels, saturation)
    mean = grey.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, pixels, contrast).clamp_(0, 1)
