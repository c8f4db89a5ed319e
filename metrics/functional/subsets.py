"""Sensitivity-n: does the sum of a map over a random subset of the image foretell what the score loses without it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def correlation(a: Tensor, b: Tensor) -> Tensor:
    """Pearson's correlation along the last axis, float64 (…); 0 where one of both is constant.

    Examples:
        >>> import torch
        >>> found = correlation(torch.tensor([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), torch.tensor([3.0, 2.0, 1.0]))
        >>> found.round(decimals=6)
        tensor([-1.,  0.], dtype=torch.float64)
    """
    a, b = (x.double() - x.double().mean(-1, keepdim=True) for x in (a, b))
    size = a.square().sum(-1).sqrt() * b.square().sum(-1).sqrt()
    return torch.where(size > 0, (a * b).sum(-1) / torch.where(size > 0, size, 1), 0)


def sensitivity_n(
    score: Callable[[Tensor], Tensor], images: Tensor, maps: Tensor, percents: Sequence[float], keys: Tensor, cell: int
) -> Tensor:
    """Mean over n of the correlation of Σ_{i in S} M_i with f(x) − f(x without S) over random subsets S of n squares.

    The pixels outside S are black there. An image takes 1 + len(percents)·K forwards.

    Args:
        score: Class scores (B,) of images (B,C,R,R).
        images: (B,C,R,R) in [0, 1].
        maps: (B,R,R), any real dtype.
        percents: Sizes n in percent of the squares; at least one square each.
        keys: (B,len(percents),K,cells), random numbers that choose the subsets: the n squares of smallest numbers.
        cell: Side of a square in pixels; squares at the right and lower border may be smaller.

    Returns:
        float64 (B,) in [−1, 1].

    Raises:
        ValueError: Wrong shapes.

    Source: Ancona et al., Towards Better Understanding of Gradient-based Attribution Methods, ICLR 2018, §4.

    Examples:
        >>> import torch
        >>> images, keys = torch.rand(1, 3, 4, 4), torch.rand(1, 1, 5, 4)
        >>> maps = images.mean(1)
        >>> sensitivity_n(lambda x: x.mean((1, 2, 3)), images, maps, [50.0], keys, cell=2).round(decimals=4)
        tensor([1.], dtype=torch.float64)
    """
    rows, columns = (-(-n // cell) for n in images.shape[-2:])
    if maps.shape != (len(images), *images.shape[2:]) or keys.shape[:2] != (len(images), len(percents)):
        raise ValueError(f"expected maps (B,R,R) and keys (B,S,K,cells), got {tuple(maps.shape)}, {tuple(keys.shape)}")
    if keys.shape[3] != rows * columns:
        raise ValueError(f"expected keys of {rows * columns} squares, got {keys.shape[3]}")
    places = keys.argsort(dim=-1, stable=True).argsort(dim=-1, stable=True)
    sums = F.avg_pool2d(maps.double()[:, None], cell, ceil_mode=True, divisor_override=1)[:, 0].flatten(1)
    whole, found = score(images).double(), []
    for size, percent in enumerate(percents):
        chosen = places[:, size] < max(1, int(percent * rows * columns / 100))
        losses = []
        for subset in chosen.unbind(1):
            hidden = _at_pixels(subset.view(-1, 1, rows, columns), cell)[..., : images.shape[-2], : images.shape[-1]]
            losses.append(whole - score(torch.where(hidden, 0, images)).double())
        found.append(correlation((chosen * sums[:, None]).sum(-1), torch.stack(losses, 1)))
    return torch.stack(found, 1).mean(1)


def _at_pixels(cells: Tensor, side: int) -> Tensor:
    return cells.repeat_interleave(side, -2).repeat_interleave(side, -1)
