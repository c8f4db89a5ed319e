"""How alike two maps are: structural similarity, and Spearman's rank correlation."""

from __future__ import annotations

import torch
from torch import Tensor

from .perturbation import blur
from .subsets import correlation

WIDTH, SIGMA = 11, 1.5
"""Gaussian window of SSIM in pixels (Wang et al., 2004)."""
K1, K2 = 0.01, 0.03
"""SSIM's constants, as fractions of the range."""


def structural_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Mean SSIM of maps in [0, 1], float64 (B,) in [−1, 1]; 1 where they are equal.

    Windows that reach beyond the border are left out, as in the authors' code.

    Args:
        a: Maps (B,R,R), R ≥ 11. b: As ``a``.

    Raises:
        ValueError: Wrong shapes, or maps smaller than the window.

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, TIP 2004, Eq. 13.

    Examples:
        >>> import torch
        >>> ramp = torch.linspace(0, 1, 16).expand(1, 16, 16)
        >>> structural_similarity(ramp, ramp).round(decimals=6)
        tensor([1.], dtype=torch.float64)
        >>> bool(structural_similarity(ramp, 1 - ramp) < 0)
        True
    """
    if a.ndim != 3 or a.shape != b.shape or min(a.shape[1:]) < WIDTH:
        raise ValueError(f"expected two stacks of maps (B,R,R), R ≥ {WIDTH}, got {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.double(), b.double()
    edge = WIDTH // 2
    products = blur(torch.stack((a, b, a * a, b * b, a * b), 1), WIDTH, SIGMA)
    mean_a, mean_b, aa, bb, ab = products[..., edge:-edge, edge:-edge].unbind(1)
    alike = (2 * mean_a * mean_b + K1**2) * (2 * (ab - mean_a * mean_b) + K2**2)
    apart = (mean_a**2 + mean_b**2 + K1**2) * (aa - mean_a**2 + bb - mean_b**2 + K2**2)
    return (alike / apart).mean((1, 2))


def rank_correlation(a: Tensor, b: Tensor) -> Tensor:
    """Spearman's rank correlation of all pixels, float64 (B,) in [−1, 1]; 0 where a map is constant.

    Equal values share the mean of their ranks.

    Args:
        a: Maps (B,R,R), any real dtype, without NaN. b: As ``a``.

    Raises:
        ValueError: Wrong shapes.

    Source: Spearman, The Proof and Measurement of Association between Two Things, 1904.

    Examples:
        >>> import torch
        >>> a = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
        >>> round(float(rank_correlation(a, a**3)), 6), round(float(rank_correlation(a, -a)), 6)
        (1.0, -1.0)
    """
    if a.ndim != 3 or a.shape != b.shape:
        raise ValueError(f"expected two stacks of maps (B,R,R), got {tuple(a.shape)} and {tuple(b.shape)}")
    return correlation(_ranks(a.flatten(1)), _ranks(b.flatten(1)))


def _ranks(values: Tensor) -> Tensor:
    """Twice the mean rank of each value (B,n), int64: the smaller values, and the ones that are not larger."""
    values = values.contiguous()
    ordered = values.sort(dim=1).values
    return torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
