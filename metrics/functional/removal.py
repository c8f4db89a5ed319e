"""ROAD: how the class score follows when the most, or the least, relevant pixels are removed and imputed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .imputation import impute


def removed(maps: Tensor, percent: float) -> Tensor:
    """The ``percent`` % of pixels of largest value, bool (B,R,R): ⌊percent/100·R²⌋ of them, equal ones in raster order.

    Args:
        maps: (B,R,R), any real dtype, without NaN.
        percent: In (0, 100).

    Examples:
        >>> import torch
        >>> removed(torch.tensor([[[0.1, 0.4], [0.3, 0.3]]]), 50.0).tolist()
        [[[False, True], [True, False]]]
    """
    return _first(_order(maps), percent).view(maps.shape)


def _order(maps: Tensor) -> Tensor:
    return maps.flatten(1).sort(dim=1, descending=True, stable=True).indices


def _first(order: Tensor, percent: float) -> Tensor:
    chosen = torch.zeros_like(order, dtype=torch.bool)
    return chosen.scatter_(1, order[:, : int(percent * order.shape[1] / 100)], True)


def road_curves(
    score: Callable[[Tensor], Tensor], images: Tensor, maps: Tensor, percents: Sequence[float], noise: Tensor
) -> Tensor:
    """Class scores after the removal of each share of pixels, most relevant first; one forward for each share.

    The least relevant first are the curves of −maps. A removed pixel is imputed from its neighbours (``impute``), and
    its noise is added.

    Args:
        score: Class scores (B,) of images (B,C,R,R).
        images: (B,C,R,R) float32 or float64 in [0, 1].
        maps: (B,R,R), any real dtype, without NaN.
        percents: Shares in percent, each in (0, 100).
        noise: (B,C,R,R), added where a pixel is removed.

    Returns:
        float64 (B,len(percents)).

    Raises:
        ValueError: Wrong shapes, or a score function that returns another shape.

    Source: Rong et al., ICML 2022, §4; pytorch-grad-cam's ROAD averages the same scores.

    Examples:
        >>> import torch
        >>> images = torch.zeros(1, 3, 8, 8)
        >>> images[..., :4] = 1.0
        >>> found = road_curves(lambda x: x.mean((1, 2, 3)), images, images[:, 0], [50.0], torch.zeros_like(images))
        >>> float(found) < 0.1
        True
    """
    if images.ndim != 4 or maps.shape != (len(images), *images.shape[2:]) or noise.shape != images.shape:
        raise ValueError(
            f"expected images and noise (B,C,R,R) and maps (B,R,R), got {tuple(images.shape)}, {tuple(noise.shape)} "
            f"and {tuple(maps.shape)}"
        )
    found, order = list[Tensor](), _order(maps)
    for percent in percents:
        missing = _first(order, percent).view(maps.shape)
        scores = score(torch.where(missing[:, None], impute(images, missing) + noise, images))
        if scores.shape != (len(images),):
            raise ValueError(
                f"the score function returned {tuple(scores.shape)} for {len(images)} images, expected (B,)"
            )
        found.append(scores.double())
    return torch.stack(found, 1)
