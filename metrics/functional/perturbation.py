"""Insertion and deletion: how the class score follows when pixels come or go in the order of the map."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Score = Callable[[Tensor], Tensor]
"""Class scores (N,) of images (N,3,R,R) of one sample, without autograd."""


def perturbation_curves(score: Score, start: Tensor, end: Tensor, maps: Tensor, steps: int) -> Tensor:
    """Class score while ``start`` turns into ``end``, most salient pixels first; one forward batch for all maps.

    Deletion goes from the image to the baseline, insertion from the baseline to the image. Step k has taken over the
    first ⌊k·R²/steps⌋ pixels; pixels of equal value go in raster order. The ends, equal for all maps, are scored once:
    M·(steps − 1) + 2 images in all.

    Args:
        score: Class scores (N,) of images (N,3,R,R).
        start: Image (3,R,R) at step 0.
        end: Image (3,R,R) at the last step.
        maps: Maps (M,R,R) of this image.
        steps: Number of steps, at least 1.

    Returns:
        float64 (M,steps+1).

    Raises:
        ValueError: Wrong shapes, no step, NaN in a map, or a score function that returns another shape.

    Source: Petsiuk et al., RISE, BMVC 2018, §3.3.

    Examples:
        >>> import torch
        >>> start, end = torch.ones(3, 4, 4), torch.zeros(3, 4, 4)
        >>> maps = torch.arange(16.0).view(1, 4, 4)
        >>> perturbation_curves(lambda images: images.mean((1, 2, 3)), start, end, maps, steps=4)
        tensor([[1.0000, 0.7500, 0.5000, 0.2500, 0.0000]], dtype=torch.float64)
    """
    if steps < 1:
        raise ValueError(f"expected at least one step, got {steps}")
    if start.ndim != 3 or start.shape != end.shape or maps.ndim != 3 or maps.shape[1:] != start.shape[1:]:
        raise ValueError(
            f"expected images (3,R,R) and maps (M,R,R), got {tuple(start.shape)}, {tuple(end.shape)} and "
            f"{tuple(maps.shape)}"
        )
    count, pixels = len(maps), maps.shape[1] * maps.shape[2]
    if bool(maps.isnan().any()):
        raise ValueError("a map holds NaN: its pixels have no order")
    order = maps.flatten(1).sort(dim=1, descending=True, stable=True).indices
    place = torch.arange(pixels, device=maps.device).expand(count, -1)
    rank = torch.empty_like(order).scatter_(1, order, place)
    cuts = torch.tensor([k * pixels // steps for k in range(1, steps)], device=maps.device)
    taken = (rank[:, None, :] < cuts[None, :, None]).view(-1, 1, *maps.shape[1:])
    batch = torch.cat([start[None], end[None], torch.where(taken, end[None], start[None])])
    scores = score(batch)
    if scores.shape != (len(batch),):
        raise ValueError(f"the score function returned {tuple(scores.shape)} for {len(batch)} images, expected (N,)")
    scores = scores.to(torch.float64)
    between = scores[2:].view(count, steps - 1)
    return torch.cat([scores[:1].expand(count, 1), between, scores[1:2].expand(count, 1)], 1)


def area_under(curves: Tensor) -> Tensor:
    """Area under curves (…,S+1) by trapezoids over the share of pixels from 0 to 1, float64 (…).

    Examples:
        >>> import torch
        >>> area_under(torch.tensor([[1.0, 0.5, 0.0]]))
        tensor([0.5000], dtype=torch.float64)
    """
    return torch.trapezoid(curves.to(torch.float64), dim=-1) / (curves.shape[-1] - 1)


def blur(images: Tensor, width: int, sigma: float) -> Tensor:
    """Images (B,3,R,R) blurred by a Gaussian of an odd ``width`` in pixels, zero beyond the border.

    The starting point of insertion; RISE uses width 11 and sigma 5.

    Args:
        images: Images (B,3,R,R), any floating dtype.
        width: Width of the kernel in pixels, odd.
        sigma: Standard deviation in pixels.

    Raises:
        ValueError: An even width, or a sigma that is not positive.

    Examples:
        >>> import torch
        >>> blurred = blur(torch.eye(8).expand(1, 3, 8, 8), width=3, sigma=1.0)
        >>> blurred.shape, bool(blurred.max() < 1)
        (torch.Size([1, 3, 8, 8]), True)
    """
    if width < 1 or width % 2 == 0 or sigma <= 0:
        raise ValueError(f"blur: expected an odd width and a positive sigma, got {width} and {sigma}")
    at = torch.arange(width, dtype=images.dtype, device=images.device) - width // 2
    weight = torch.exp(-(at**2) / (2 * sigma**2))
    channels = images.shape[1]
    line = (weight / weight.sum()).expand(channels, 1, width)
    rows = F.conv2d(images, line[:, :, None, :], padding=(0, width // 2), groups=channels)
    return F.conv2d(rows, line[:, :, :, None], padding=(width // 2, 0), groups=channels)
