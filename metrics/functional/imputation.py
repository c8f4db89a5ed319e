"""Missing pixels filled in by their neighbours: the linear imputation of ROAD, solved for a whole batch at once.

Every missing pixel is the weighted mean of its eight neighbours, 1/6 beside and 1/12 across a corner; at the border of
the image the weights that are left are scaled to one. On the missing pixels this is a symmetric system D·x = W·x + b
with a positive matrix, a discrete Laplace equation. It is solved by conjugate gradients, preconditioned with one
multigrid V-cycle: tensor operations on all images, with the same few steps for each, and no sparse matrix.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor
from torch.nn import functional as F

from .kernels.imputation_cpu import fill_missing
from .kernels.resize import on_host

ITERATIONS = 7
"""Steps of conjugate gradients. Each leaves about a third of the error: what remains is some 1e-4 of the range."""
COARSEST = 4
"""Side from which on the V-cycle halves no more; a few sweeps settle it there."""
SWEEPS = 8
SMALLEST = 1 / 12
"""A weight of a neighbour."""
HOST_ITERATIONS = 6
"""Steps on the host, whose V-cycle sweeps over four colours: each leaves about a third of the error. The first guess,
nearly a solution of each coarser grid in turn, has a tenth of the error that plain means have."""


def impute(images: Tensor, missing: Tensor) -> Tensor:
    """Images whose missing pixels are filled in; the others keep every bit.

    Args:
        images: (B,C,H,W), float32 or float64; what stands in missing pixels is not read.
        missing: bool (B,H,W), at least one pixel of each image known.

    Returns:
        (B,C,H,W); within some 1e-4 of the image's range of the exact solution, up to some 1e-3 within holes of most of
        a noisy image. An image without a known pixel is zero.

    Raises:
        ValueError: Wrong shapes.

    Source: Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022: noisy linear
        imputation, without its noise.

    Examples:
        >>> import torch
        >>> images = torch.ones(1, 1, 8, 8)
        >>> missing = torch.zeros(1, 8, 8, dtype=torch.bool)
        >>> missing[0, 2:6, 2:6], images[0, 0, 2:6, 2:6] = True, 7.0
        >>> bool((impute(images, missing) - 1).abs().max() < 1e-3)
        True
    """
    if images.ndim != 4 or missing.shape != (len(images), *images.shape[2:]) or missing.dtype != torch.bool:
        raise ValueError(
            f"expected images (B,C,H,W) and missing bool (B,H,W), got {tuple(images.shape)} and "
            f"{missing.dtype} {tuple(missing.shape)}"
        )
    if not len(images):
        return images
    if images.dtype == torch.float32 and on_host(images):
        return _on_host(images, missing)
    return _solve(images, missing)


def _halvings(height: int, width: int) -> int:
    return max(0, int(math.log2(min(height, width) / COARSEST)))


def _on_host(images: Tensor, missing: Tensor) -> Tensor:
    """The same system by the compiled kernel, a thread for each part of the batch."""
    batch, _, height, width = images.shape
    filled = images.clone(memory_format=torch.contiguous_format)
    holes, halvings = missing.contiguous().numpy(), _halvings(height, width)
    threads = max(1, min(torch.get_num_threads(), batch))
    cuts = [slice(k * batch // threads, (k + 1) * batch // threads) for k in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        work = [pool.submit(fill_missing, filled[cut].numpy(), holes[cut], halvings, HOST_ITERATIONS) for cut in cuts]
        for part in work:
            part.result()
    return filled


def _solve(images: Tensor, missing: Tensor) -> Tensor:
    height, width = missing.shape[1:]
    halvings = _halvings(height, width)
    # What is padded is outside the image: no neighbour of anything, and neither known nor missing.
    padding = (0, -width % 2**halvings, 0, -height % 2**halvings)
    inside = F.pad(torch.ones_like(images[:1, :1]), padding)
    hole = F.pad(missing[:, None].to(images.dtype), padding)
    known = F.pad(torch.where(missing[:, None], 0, images), padding)
    levels = _Levels(hole, inside, halvings)
    x = torch.where(hole > 0, _pull_push(known, inside - hole, halvings), known)
    residual = (_spread(x) - levels.weights[0] * x) * hole
    direction = step = levels.cycle(residual)
    size = _dot(residual, step)
    for _ in range(ITERATIONS):
        image = (levels.weights[0] * direction - _spread(direction)) * hole
        length = size / _positive(_dot(direction, image))
        x = x + length * direction
        last, residual = residual, residual - length * image
        step = levels.cycle(residual)
        # Polak and Ribière's factor: the V-cycle's resize is not quite its own adjoint.
        factor = _dot(residual - last, step) / _positive(size)
        size = _dot(residual, step)
        direction = step + factor * direction
    return torch.where(missing[:, None], x[..., :height, :width], images)


class _Levels:
    """The missing pixels at full, half, quarter … resolution, and the sums of the neighbours' weights there."""

    def __init__(self, hole: Tensor, inside: Tensor, halvings: int) -> None:
        self.holes, insides = [hole], [inside]
        for _ in range(halvings):
            share = _halved(insides[-1])
            # Missing is a cell all of whose pixels are: nothing known is ever corrected.
            self.holes.append(((_halved(self.holes[-1]) == share) & (share > 0)).to(hole.dtype))
            insides.append((share > 0).to(hole.dtype))
        # Outside the image there is no weight, and nothing to divide.
        self.weights = [_spread(i).clamp_min(SMALLEST) for i in insides]

    def cycle(self, residual: Tensor, level: int = 0) -> Tensor:
        """One V-cycle from zero: an approximate solution e of D·e − W·e = residual on the missing pixels."""
        hole, weight = self.holes[level], self.weights[level]
        masked = hole / weight
        error = residual * masked
        if level + 1 == len(self.holes):
            for _ in range(SWEEPS):
                error = error + masked * (residual - weight * error + _spread(error))
            return error
        rest = (residual - weight * error + _spread(error)) * hole
        # The equation of a grid twice as coarse has four times the right-hand side.
        coarse = self.cycle(4 * _halved(rest), level + 1)
        error = error + hole * _resized(coarse, hole)
        return error + masked * (residual - weight * error + _spread(error))


def _pull_push(known: Tensor, have: Tensor, halvings: int) -> Tensor:
    """A first guess (B,C,H,W): means of what is known nearby, from the finest resolution that knows anything."""
    values, counts = [known], [have]
    for _ in range(halvings):
        values.append(_halved(values[-1]))
        counts.append(_halved(counts[-1]))
    everywhere = values[-1].sum((-2, -1), keepdim=True) / _positive(counts[-1].sum((-2, -1), keepdim=True))
    guess = torch.where(counts[-1] > 0, values[-1] / _positive(counts[-1]), everywhere)
    for value, count in zip(values[-2::-1], counts[-2::-1], strict=True):
        guess = torch.where(count > 0, value / _positive(count), _resized(guess, value))
    return guess


def _spread(x: Tensor) -> Tensor:
    """Σ of the eight neighbours by their weights, [1 2 1]ᵀ[1 2 1]/12 less its centre; nothing beyond the border."""
    padded = F.pad(x, (1, 1, 1, 1))
    rows = (padded[..., :-2, :] + padded[..., 2:, :]).add_(padded[..., 1:-1, :], alpha=2)
    both = (rows[..., :-2] + rows[..., 2:]).add_(rows[..., 1:-1], alpha=2)
    return both.sub_(x, alpha=4).div_(12)


def _halved(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1), keepdim=True)


def _positive(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.inf)
