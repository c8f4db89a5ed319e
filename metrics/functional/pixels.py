"""Pixel average precision (PxAP) from exact integer histograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .kernels.histogram import BAD_MASK, BAD_SCORE, count_pixels

GRIDS = {"arange1000": 1000, "linspace1001": 1001}
"""Number of thresholds of each grid; the histogram has two bins more: from 1 to 2 and from 2 to 3."""


def bin_count(grid: str) -> int:
    """Bins K of a histogram: the published edges are the thresholds and 1, 2, 3; ValueError if the grid is unknown.

    Examples:
        >>> bin_count("arange1000")
        1002
    """
    if grid not in GRIDS:
        raise ValueError(f"unknown threshold grid {grid!r}; known: {', '.join(map(repr, GRIDS))}")
    return GRIDS[grid] + 2


def pixel_histograms(norm: Tensor, masks: Tensor, grid: str, image_ids: Sequence[str] | None = None) -> Tensor:
    """Pixels per threshold bin and class, counted exactly.

    Args:
        norm: Normalised maps float64 (B,R,R) in [0, 1].
        masks: uint8 (B,R,R) on the same device: 0 background, 1 foreground, 255 ignored.
        grid: ``arange1000`` or ``linspace1001``.
        image_ids: Names for messages.

    Returns:
        int64 (B,2,K) on the maps' device: row 0 background, row 1 foreground; bins ascending.

    Raises:
        TypeError: Wrong dtypes.
        ValueError: Wrong shapes; on the CPU also a score outside [0, 1] or NaN, or another mask value, naming the
            image. On another device such an image gets −1 in every bin instead, as a check there would stall the
            device; ``check_histograms`` and ``pxap`` raise on it.

    Source: wsolevaluation, ``MaskEvaluator.accumulate`` (there in float32, which loses counts past 2^24).

    Examples:
        >>> import torch
        >>> norm = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]], dtype=torch.float64)
        >>> masks = torch.tensor([[[0, 255], [1, 1]]], dtype=torch.uint8)
        >>> pixel_histograms(norm, masks, "arange1000").sum(-1)
        tensor([[1, 2]])
    """
    bins = bin_count(grid)
    if norm.dtype != torch.float64 or masks.dtype != torch.uint8:
        raise TypeError(f"pixel_histograms: expected float64 maps and uint8 masks, got {norm.dtype} and {masks.dtype}")
    if norm.ndim != 3 or norm.shape != masks.shape:
        raise ValueError(
            f"pixel_histograms: maps {tuple(norm.shape)} and masks {tuple(masks.shape)} must both be (B,R,R)"
        )
    if norm.device.type != "cpu":
        return device_histograms(norm, masks, grid)
    # Maps of a device without float64 are here, masks still there.
    flat, flat_masks = norm.detach().contiguous().flatten(1), masks.cpu().contiguous().flatten(1)
    counts, status = np.zeros((len(norm), 2, bins), np.int64), np.zeros(len(norm), np.int64)
    count_pixels(flat.numpy(), flat_masks.numpy(), grid == "arange1000", bins - 2, counts, status)
    if status.any():
        image = int((status != 0).argmax())
        _complain(int(status[image]), norm[image], masks[image], _name(image, image_ids))
    return torch.from_numpy(counts)


def device_histograms(norm: Tensor, masks: Tensor, grid: str) -> Tensor:
    """``pixel_histograms`` as tensor code for any device, without a synchronisation; bad images get −1 in every bin.

    Examples:
        >>> import torch
        >>> norm = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]], dtype=torch.float64)
        >>> masks = torch.tensor([[[0, 255], [1, 1]]], dtype=torch.uint8)
        >>> device_histograms(norm, masks, "arange1000").sum(-1)
        tensor([[1, 2]])
    """
    bins = bin_count(grid)
    scores, masks = norm.flatten(1), masks.flatten(1)
    bad = ~((scores >= 0) & (scores <= 1)) | ((masks > 1) & (masks != 255))
    scores = torch.where(bad, 0.0, scores)
    k = (scores * 1000).floor()
    # The product may round across an edge in either direction.
    below, above = (k * 0.001, (k + 1) * 0.001) if grid == "arange1000" else (k / 1000, (k + 1) / 1000)
    k += (scores >= above).to(k.dtype) - (scores < below).to(k.dtype)
    k = torch.where(scores == 1, float(bins - 2), k).to(torch.int64)
    weight = ((masks != 255) & ~bad).to(torch.int64)
    index = k + bins * (masks == 1)
    counts = torch.zeros((len(norm), 2 * bins), dtype=torch.int64, device=norm.device)
    counts.scatter_add_(1, index, weight)
    return torch.where(bad.any(1)[:, None], -1, counts).view(-1, 2, bins)


def check_histograms(histograms: Tensor, image_ids: Sequence[str] | None = None) -> None:
    """Raise ValueError, naming the image, if an image of histograms (B,2,K) was marked as bad on a device.

    Examples:
        >>> import torch
        >>> check_histograms(torch.zeros(1, 2, 4, dtype=torch.int64))
        >>> check_histograms(torch.full((1, 2, 4), -1), ["bird.jpg"])
        Traceback (most recent call last):
        ValueError: image 'bird.jpg': the map is outside [0, 1] or NaN, or its mask has values other than 0, 1, 255
    """
    bad = (histograms < 0).flatten(1).any(1)
    if bool(bad.any()):
        image = int(bad.nonzero()[0, 0])
        raise ValueError(
            f"{_name(image, image_ids)}: the map is outside [0, 1] or NaN, or its mask has values other than 0, 1, 255"
        )


def pxap(histogram: Tensor) -> float:
    """PxAP in percent of a histogram (2,K) summed over all images (background, foreground).

    PxAP = 100·Σ_{i≥1, tp+fp≠0} P_i·(R_i − R_{i−1}), thresholds descending.

    Raises:
        ValueError: Wrong shape, a negative count, or no foreground pixel at all.

    Source: Choe et al., CVPR 2020, §3.2; wsolevaluation, ``MaskEvaluator.compute``.

    Examples:
        >>> import torch
        >>> pxap(torch.tensor([[6, 2, 0, 0], [0, 0, 3, 0]]))
        100.0
    """
    if histogram.ndim != 2:
        raise ValueError(f"pxap: expected a histogram of shape (2,K), got {tuple(histogram.shape)}")
    return float(pxaps(histogram[None])[0])


def pxaps(histograms: Tensor) -> Tensor:
    """``pxap`` of many samples at once: float64 (S,) of histograms (S,2,K), whole numbers of any dtype.

    Examples:
        >>> import torch
        >>> pxaps(torch.tensor([[[6, 2, 0, 0], [0, 0, 3, 0]], [[0, 0, 3, 0], [1, 2, 0, 0]]])).round(decimals=2)
        tensor([100.0000,  43.3300], dtype=torch.float64)
    """
    fp, tp = _reached(histograms, "pxap")
    recall = tp / tp[:, -1:]
    steps = tp / (tp + fp) * torch.diff(recall, prepend=recall[:, :1])
    steps = torch.where(tp + fp != 0, steps, 0.0)
    return 100.0 * steps[:, 1:].sum(-1)


def pious(histograms: Tensor) -> Tensor:
    """Peak IoU of many samples: float64 (S,), percent, of histograms (S,2,K) summed over images, as of ``pxaps``.

    pIoU = 100·max_τ TP / (TP + FP + FN), of the pixels of all images together at each threshold τ of the grid: a pixel
    counts as found where its score is at least τ. Ignored pixels never count.

    Raises:
        ValueError: As ``pxaps``.

    Source: Zhang et al., Rethinking Localization Map: Towards Accurate Object Perception with Self-Enhancement Maps,
    2020, which names it; one peak over the pooled pixels of the split, as PxAP pools them.

    Examples:
        >>> import torch
        >>> pious(torch.tensor([[[6, 2, 0, 0], [0, 0, 3, 0]], [[0, 0, 3, 0], [1, 2, 0, 0]]]))
        tensor([100.,  50.], dtype=torch.float64)
    """
    fp, tp = _reached(histograms, "piou")
    return 100.0 * (tp / (tp[:, -1:] + fp)).amax(-1)


def _reached(histograms: Tensor, score: str) -> tuple[Tensor, Tensor]:
    """Background and object pixels float64 (S,K) at or above each threshold, from the highest down."""
    if histograms.ndim != 3 or histograms.shape[1] != 2:
        raise ValueError(f"{score}: expected histograms of shape (S,2,K), got {tuple(histograms.shape)}")
    if bool((histograms < 0).any()):
        raise ValueError(
            f"{score}: negative counts; a map was outside [0, 1] or a mask had values other than 0, 1, 255"
        )
    reached = histograms.flip(-1).cumsum(-1).to(torch.float64)
    if bool((reached[:, 1, -1] <= 0).any()):
        raise ValueError(f"{score}: no mask has a foreground pixel; the score is undefined")
    return reached[:, 0], reached[:, 1]


def _complain(status: int, norm: Tensor, mask: Tensor, name: str) -> None:
    if status == BAD_SCORE:
        found = norm[~((norm >= 0) & (norm <= 1))][0]
        raise ValueError(f"{name}: the map holds {float(found)}; expected values in [0, 1] (see min_max)")
    assert status == BAD_MASK
    values = sorted(set(mask.unique().tolist()) - {0, 1, 255})
    raise ValueError(f"{name}: the mask holds {values[:5]}; expected 0 background, 1 foreground, 255 ignored")


def _name(image: int, image_ids: Sequence[str] | None) -> str:
    return f"image {image_ids[image]!r}" if image_ids is not None else f"image {image} of the batch"
