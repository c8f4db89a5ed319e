"""From raw maps to normalised maps, in the one dtype chain that reproduces the published decisions.

The chain, pinned by tests: raw map → float64 → resize to R×R → min-max in float64 → floor(255·) as uint8. In float32 a
constant map leaves the resize slightly uneven, min-max blows that up to noise, and levels flip elsewhere.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor
from torch.nn import functional as F

from ...protocol import MapRule
from .kernels.maps_cpu import ranges, rescale
from .kernels.resize import bicubic, on_host

OK, CONSTANT, NOT_FINITE = 0, 1, 2
"""Flags of ``min_max`` and ``normalise``: contrast, no contrast, NaN or infinity."""
PAS_PERCENT = 90.0
"""Percentile of the normalisation ``pas``."""


def resize_maps(low: Tensor, size: int, kernel: str) -> Tensor:
    """Resize raw maps (B,h,w) to float64 (B,R,R), half-pixel centres, no antialiasing.

    ``bicubic`` (a = −0.75) is bit-equal to OpenCV's INTER_CUBIC in float64; ``bilinear`` is torch's.

    Args:
        low: Raw maps (B,h,w), any floating or integer dtype, any device.
        size: Side R in pixels.
        kernel: ``bicubic`` or ``bilinear``.

    Raises:
        ValueError: Wrong shape, size or kernel.

    Source: wsolevaluation, ``resize`` before ``normalize_scoremap`` (SEMANTICS §3).

    Examples:
        >>> import torch
        >>> resize_maps(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), 4, "bilinear")[0, 0]
        tensor([0.0000, 0.2500, 0.7500, 1.0000], dtype=torch.float64)
    """
    if low.ndim != 3 or low.shape[1] < 1 or low.shape[2] < 1:
        raise ValueError(f"resize_maps: expected maps of shape (B,h,w), got {tuple(low.shape)}")
    if size < 1:
        raise ValueError(f"resize_maps: size must be a positive number of pixels, got {size}")
    if kernel not in ("bicubic", "bilinear"):
        raise ValueError(f"resize_maps: kernel must be 'bicubic' or 'bilinear', got {kernel!r}")
    if len(low) == 0:
        return low.new_empty((0, size, size), dtype=torch.float64)
    low = low.double()
    if kernel == "bicubic":
        up = bicubic(low, size)
    else:
        up = F.interpolate(low[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    # A map without contrast must leave the resize without contrast, whatever the kernel's rounding.
    flat = (low == low[:, :1, :1]).all(2).all(1)
    if on_host(up) and not bool(flat.any()):
        return up
    return torch.where(flat[:, None, None], low[:, :1, :1], up)


def min_max(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Min-max normalise every map to [0, 1]: (v − min) / (max − min), in float64.

    Args:
        maps: Maps (B,R,R), any real dtype.

    Returns:
        Normalised maps float64 (B,R,R), all zero where degenerate; flags uint8 (B,): 0 the map has contrast, 1 it is
        constant (or max = 0 after the shift), 2 it holds NaN or infinity.

    Raises:
        ValueError: Wrong shape.

    Source: wsolevaluation, ``normalize_scoremap``.

    Examples:
        >>> import torch
        >>> norm, flags = min_max(torch.tensor([[[1.0, 3.0]], [[2.0, 2.0]]]))
        >>> norm.tolist(), flags.tolist()
        ([[[0.0, 1.0]], [[0.0, 0.0]]], [0, 1])
    """
    if maps.ndim != 3:
        raise ValueError(f"min_max: expected maps of shape (B,R,R), got {tuple(maps.shape)}")
    maps = maps.double()
    if maps.numel() == 0:
        return maps, torch.zeros(len(maps), dtype=torch.uint8, device=maps.device)
    on_cpu = on_host(maps)
    if on_cpu:
        maps = maps.detach().contiguous()
        low, high = torch.empty(2, len(maps), dtype=torch.float64)
        ranges(maps.numpy(), low.numpy(), high.numpy())
    else:
        low, high = torch.aminmax(maps.flatten(1), dim=1)
    span = high - low
    bad = ~span.isfinite()
    flat = span == 0
    flags = flat.to(torch.uint8) * CONSTANT + bad.to(torch.uint8) * NOT_FINITE
    if on_cpu:
        norm = torch.empty_like(maps)
        rescale(maps.numpy(), low.numpy(), span.numpy(), norm.numpy())
        return norm, flags
    ok = (~(bad | flat))[:, None, None]
    # Multiplying NaN by zero keeps NaN, hence the selection.
    norm = (maps - low[:, None, None]) / span[:, None, None]
    norm = torch.where(ok, norm, torch.zeros((), dtype=norm.dtype, device=norm.device))
    return norm, flags


def locate(low: Tensor, rule: MapRule, size: int, *, finished: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Low-resolution maps (B,P,Q) as boxes and pixels read them, float64 at R×R.

    A map with a cell that is NaN, infinite or beyond float32 is an all-zero map with the flag 2.

    Args:
        low: Maps after the sign rule, any real dtype, any device.
        rule: Kernel of the resize, and whether the maps are min-max normalised before it.
        size: Side R in pixels.
        finished: The maps are masks in [0, 1], which are never normalised.

    Returns:
        The resized maps (B,R,R), the same min-max normalised, and the flags (B,) of ``min_max``.

    Examples:
        >>> import torch
        >>> up, norm, flags = locate(torch.tensor([[[0.0, 1.0], [2.0, 4.0]]]), MapRule(), 8)
        >>> norm.shape, float(norm.min()), float(norm.max()), flags.tolist()
        (torch.Size([1, 8, 8]), 0.0, 1.0, [0])
    """
    finite = low.float().isfinite().flatten(1).all(1)
    low = torch.where(finite[:, None, None], low, low.new_zeros(()))
    if finished:
        up = resize_maps(low, size, rule.kernel).clamp(0, 1)
        norm, degenerate = up, torch.full_like(finite, OK, dtype=torch.uint8)
    else:
        if rule.low_res_min_max:
            low, _ = min_max(low.double())
        up = resize_maps(low, size, rule.kernel)
        norm, degenerate = normalise(up, rule.normalisation)
    return up, norm, torch.where(finite, degenerate, NOT_FINITE).to(torch.uint8)


def normalise(maps: Tensor, how: str) -> tuple[Tensor, Tensor]:
    """Bring every map x to [0, 1], in float64.

    ``min_max``: (x − min) / (max − min). ``max``: relu(x) / max. ``pas``: (x − min) / P₉₀ of that, at most 1; where
    P₉₀ is 0, 1 above the minimum. ``ivr(p)``: relu(x − P_p) / max of that. P_p is the value of rank int(p/100·R²).

    Args:
        maps: Maps (B,R,R), any real dtype and device.
        how: ``min_max``, ``max``, ``pas`` or ``ivr(p)``, p in percent.

    Returns:
        Normalised maps float64 (B,R,R), all zero where degenerate; flags uint8 (B,) as of ``min_max``: 1 also where
        nothing is above what is subtracted.

    Raises:
        ValueError: Wrong shape or an unknown normalisation.

    Source: Kim et al., Normalization Matters in Weakly Supervised Object Localization, ICCV 2021, and its code.

    Examples:
        >>> maps = torch.tensor([[[-1.0, 0.0], [1.0, 3.0]]])
        >>> normalise(maps, "min_max")[0].tolist()
        [[[0.0, 0.25], [0.5, 1.0]]]
        >>> normalise(maps, "ivr(50)")[0].tolist()
        [[[0.0, 0.0], [0.0, 1.0]]]
    """
    if how == "min_max":
        return min_max(maps)
    percentile = re.fullmatch(r"ivr\((\d+(?:\.\d+)?)\)", how)
    if how not in ("max", "pas") and percentile is None:
        raise ValueError(f"unknown normalisation {how!r}; known: 'min_max', 'max', 'pas', 'ivr(p)' such as 'ivr(45)'")
    _, flags = min_max(maps)
    # A map that is not finite is zero in the end; zeros keep its NaN out of what is computed on the way.
    flat = torch.where((flags == NOT_FINITE)[:, None, None], 0.0, maps.double()).flatten(1)
    if flat.numel() == 0:
        return maps.double(), flags
    if how == "pas":
        flat = flat - flat.amin(1, keepdim=True)
        scale = _ranked(flat, PAS_PERCENT)
        norm = torch.where(scale > 0, flat / scale, (flat > 0).double()).clamp_max(1)
    else:
        subtracted = flat if percentile is None else flat - _ranked(flat, float(percentile[1]))
        flat = subtracted.clamp_min(0)
        scale = flat.amax(1, keepdim=True)
        norm = flat / scale
        flags = torch.where((flags == OK) & (scale[:, 0] == 0), CONSTANT, flags).to(torch.uint8)
    return torch.where((flags == OK)[:, None], norm, 0.0).view(maps.shape), flags


def _ranked(flat: Tensor, percent: float) -> Tensor:
    """Values (B,1) of rank int(percent/100·n) of rows (B,n), counted from 0 upwards."""
    rank = min(int(flat.shape[1] * (percent / 100)), flat.shape[1] - 1)
    return flat.kthvalue(rank + 1, dim=1, keepdim=True).values
