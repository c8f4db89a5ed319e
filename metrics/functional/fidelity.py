"""Fidelity of a map to the network: class scores on masked images, and the map's mass on known evidence."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .maps import min_max, resize_maps

_DENSE_RATIO = 4
"""A bilinear resize by at least this factor is two small matrix products; below it, torch's kernel is as fast."""


def image_masks(positive: Tensor, size: int, kernel: str, normalised: Literal["low_res", "full_res", "no"]) -> Tensor:
    """Masks float32 (B,R,R) in [0, 1] that multiply the images, of non-negative low-resolution maps (B,h,w).

    The values are min-max normalised before the resize (``low_res``), after it (``full_res``), or are a mask already
    (``no``). A map without contrast masks everything. Images are float32, so a mask needs no more.

    Raises:
        ValueError: Wrong shape or kernel.

    Source: torch-cam, ``ClassificationMetric`` (SEMANTICS §5); Protocol's ``fidelity_kernel`` and ``fidelity_min_max``.

    Examples:
        >>> import torch
        >>> image_masks(torch.tensor([[[0.0, 2.0], [4.0, 2.0]]]), 2, "bilinear", "low_res")
        tensor([[[0.0000, 0.5000],
                 [1.0000, 0.5000]]])
    """
    low = positive.double()
    if normalised == "low_res":
        low, _ = min_max(low)
    if kernel == "bilinear" and max(low.shape[1:]) * _DENSE_RATIO <= size:
        rows, columns = (_bilinear(n, size, low.device) for n in low.shape[1:])
        mask = rows @ low @ columns.T
    else:
        mask = resize_maps(low, size, kernel)
    if normalised == "full_res":
        mask, _ = min_max(mask)
    return mask.float().clamp_(0, 1)


@lru_cache(maxsize=64)
def _bilinear(length: int, size: int, device: torch.device) -> Tensor:
    """Bilinear resize of ``length`` values to ``size``, torch's with half-pixel centres, as a matrix (size,length)."""
    one = torch.eye(length, dtype=torch.float64)[None]
    return F.interpolate(one, size=size, mode="linear", align_corners=False)[0].T.contiguous().to(device)


def drops(y: Tensor, o: Tensor) -> Tensor:
    """Relative drop relu(Y − O) / Y per image, float64 (n,); the summand of Average Drop.

    Args:
        y: Class score Y (n,) on the image, any floating dtype.
        o: Class score O (n,) on the masked image.

    Raises:
        ValueError: Wrong shapes.

    Examples:
        >>> import torch
        >>> drops(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
        tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    y, o = _pair(y, o)
    return torch.relu(y - o) / y


def gains(y: Tensor, o: Tensor) -> Tensor:
    """Relative gain relu(O − Y) / (1 − Y) per image, float64 (n,); 0 where Y = 1, which leaves nothing to gain.

    Examples:
        >>> import torch
        >>> gains(torch.tensor([0.5, 1.0]), torch.tensor([0.75, 1.0]))
        tensor([0.5000, 0.0000], dtype=torch.float64)
    """
    y, o = _pair(y, o)
    return torch.where(y == 1, 0.0, torch.relu(o - y) / (1 - y))


def average_drop(y: Tensor, o: Tensor) -> Tensor:
    """Average Drop in percent, float64 (): 100·mean( relu(Y − O) / Y ); lower is better.

    Args:
        y: Class score Y (n,) on the image, any floating dtype.
        o: Class score O (n,) on the image masked by the map.

    Raises:
        ValueError: No image, wrong shapes, or a drop that is not finite (Y = 0); names the image's row.

    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018, §4.1; SEMANTICS §5.

    Examples:
        >>> import torch
        >>> average_drop(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
        tensor(25., dtype=torch.float64)
    """
    return mean_percent(drops(y, o), "Average Drop", "the class score Y is 0 or not finite")


def increase_in_confidence(y: Tensor, o: Tensor) -> Tensor:
    """Increase in Confidence in percent, float64 (): 100·mean( O > Y ); higher is better.

    Raises:
        ValueError: No image, wrong shapes, or a score that is NaN; names the image's row.

    Source: Chattopadhyay et al., Grad-CAM++, WACV 2018, §4.1.

    Examples:
        >>> import torch
        >>> increase_in_confidence(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
        tensor(50., dtype=torch.float64)
    """
    y, o = _pair(y, o)
    # NaN compares as False, which would count as "no increase".
    up = torch.where((y - o).isnan(), torch.nan, (o > y).to(torch.float64))
    return mean_percent(up, "Increase in Confidence", "a class score is NaN")


def average_gain(y: Tensor, o: Tensor) -> Tensor:
    """Average Gain in percent, float64 (): 100·mean( relu(O − Y) / (1 − Y) ); higher is better.

    Defined for scores in [0, 1] (probabilities, sigmoid scores), not for logits.

    Raises:
        ValueError: No image, wrong shapes, or a score outside [0, 1]; names the image's row.

    Source: Zhang et al., Opti-CAM, CVIU 2024, Eq. 18.

    Examples:
        >>> import torch
        >>> average_gain(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
        tensor(25., dtype=torch.float64)
    """
    y, o = _pair(y, o)
    inside = (y >= 0) & (y <= 1) & (o >= 0) & (o <= 1)
    return mean_percent(torch.where(inside, gains(y, o), torch.nan), "Average Gain", "a class score is outside [0, 1]")


def evidence_precision(maps_positive: Tensor, evidence: Tensor) -> Tensor:
    """Share of a map's mass on the evidence mask, float64 (B,) in [0, 1]; 0 for a map without mass.

    Σ_{p in evidence} M_p / Σ_p M_p. With boxes or object masks as evidence this is the energy-based pointing game.

    Args:
        maps_positive: Non-negative maps (B,R,R), any floating dtype.
        evidence: bool (B,R,R) on the same device.

    Raises:
        ValueError: Wrong shapes; on the CPU also a negative or not finite value.

    Source: Wang et al., Score-CAM, CVPRW 2020, §4.3 (energy-based pointing game).

    Examples:
        >>> import torch
        >>> evidence = torch.tensor([[[True, False], [False, False]]])
        >>> evidence_precision(torch.tensor([[[3.0, 1.0], [0.0, 0.0]]]), evidence)
        tensor([0.7500], dtype=torch.float64)
    """
    if maps_positive.ndim != 3 or maps_positive.shape != evidence.shape:
        raise ValueError(
            f"maps {tuple(maps_positive.shape)} and evidence {tuple(evidence.shape)} must both be of shape (B,R,R)"
        )
    maps = maps_positive.to(torch.float64).flatten(1)
    mass = maps.sum(1)
    # A NaN or an infinity shows in the sum, a negative value in the minimum: two passes instead of five.
    if maps.device.type == "cpu" and not bool(mass.isfinite().all() & (maps.amin(1) >= 0).all()):
        image = int((~((maps >= 0) & maps.isfinite())).any(1).nonzero()[0, 0])
        raise ValueError(f"image {image} of the batch: the map has negative, NaN or infinite values; clamp it at 0")
    inside = torch.where(evidence.flatten(1).bool(), maps, 0.0).sum(1)
    return torch.where(mass > 0, inside / mass, 0.0)


def _pair(y: Tensor, o: Tensor) -> tuple[Tensor, Tensor]:
    if y.ndim != 1 or y.shape != o.shape:
        raise ValueError(f"expected scores Y and O of one shape (n,), got {tuple(y.shape)} and {tuple(o.shape)}")
    return y.to(torch.float64), o.to(torch.float64)


def mean_percent(values: Tensor, name: str, reason: str) -> Tensor:
    """100·mean of values (n,), float64 (); summed in the order of their size, so that the images' order is no matter.

    Raises:
        ValueError: No image, or a value that is not finite; names the image's row, the metric and the reason.

    Examples:
        >>> import torch
        >>> mean_percent(torch.tensor([0.25, 0.75]), "My metric", "it divides by zero")
        tensor(50., dtype=torch.float64)
    """
    if len(values) == 0:
        raise ValueError(f"{name}: no image to score")
    bad = ~values.isfinite()
    if bool(bad.any()):
        raise ValueError(f"{name}: image {int(bad.nonzero()[0, 0])} has no finite value: {reason}")
    return 100.0 * values.to(torch.float64).sort().values.mean()
