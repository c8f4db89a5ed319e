"""Localisation scores from hit bits: everything a table prints, recomputed from per-image records.

A *hit* says that the IoU of an image at a level reaches a threshold; levels 0 … 255 are those of ``level_ious``.
Scores are percentages in float64. ``weights`` (S,n) scores S weighted samples at once (a bootstrap: how often each
image was drawn); it adds a leading dimension S to the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LEVELS = 256
BYTES = 32


def tau_grid(name: str) -> Tensor:
    """Thresholds τ, float64, ascending.

    ``arange1000``: 0, .001 … .999 (wsolevaluation, ``np.arange(0, 1, .001)``); ``linspace1001``: k / 1000 for
    k = 0 … 1000, as rounded decimals (the code of *Beyond Softmax*).

    Raises:
        ValueError: Unknown name.
    """
    if name == "arange1000":
        return torch.from_numpy(np.arange(0, 1, 0.001))
    if name == "linspace1001":
        return torch.from_numpy(np.arange(1001) / 1000)
    raise ValueError(f"unknown threshold grid {name!r}; known: 'arange1000', 'linspace1001'")


def levels_at(taus: Tensor, peak: Tensor) -> Tensor:
    """Level int(τ·peak), int64 (n,T), of thresholds (T,) float64 on maps of peaks (n,); the published expression."""
    return (taus.double()[None, :] * peak.to(torch.float64)[:, None]).to(torch.int64)


def pack_hits(ious: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Hit bits uint8 (B,T,32) of IoUs (B,256) float64 at T IoU thresholds.

    Level l is bit l mod 8 (most significant first, as ``np.packbits``) of byte l // 8; it says IoU >= threshold.

    Raises:
        ValueError: Wrong shape, or an IoU that is NaN (names the image's row).
    """
    if ious.ndim != 2 or ious.shape[1] != LEVELS:
        raise ValueError(f"pack_hits: expected IoUs of shape (B,{LEVELS}), got {tuple(ious.shape)}")
    if bool(ious.isnan().any()):
        raise ValueError(f"pack_hits: the IoUs of image {int(ious.isnan().any(1).int().argmax())} hold NaN")
    limits = torch.tensor(list(thresholds), dtype=torch.float64, device=ious.device)
    hits = ious.double()[:, None, :] >= limits[None, :, None]
    return torch.from_numpy(np.packbits(hits.cpu().numpy(), axis=-1))


def unpack_hits(packed: Tensor) -> Tensor:
    """Hits bool (…,256) of hit bits uint8 (…,32), the inverse of ``pack_hits``.

    Raises:
        ValueError: The last dimension is not 32 bytes.
    """
    if packed.dtype != torch.uint8 or packed.shape[-1:] != (BYTES,):
        raise ValueError(f"unpack_hits: expected uint8 (…,{BYTES}), got {packed.dtype} {tuple(packed.shape)}")
    bits = np.unpackbits(np.ascontiguousarray(packed.cpu().numpy()), axis=-1)
    return torch.from_numpy(bits).bool()


def hits_at(hits: Tensor, peak: Tensor, tau: float) -> Tensor:
    """Hits bool (n,…) of hits (n,…,256) at one threshold τ."""
    level = levels_at(torch.tensor([tau], dtype=torch.float64), peak.cpu())[:, 0].to(hits.device)
    index = level.view(-1, *[1] * (hits.ndim - 1)).expand(*hits.shape[:-1], 1)
    return hits.gather(-1, index)[..., 0]


def hit_counts(hits: Tensor, peak: Tensor, taus: Tensor, weights: Tensor | None = None) -> Tensor:
    """Images that hit, per threshold: int64 (…,T) of hits (n,…,256); with weights (S,n), float64 (S,…,T).

    Maps share few peaks (255, or 0 for an empty map), so levels are counted per peak and expanded to τ at the end.

    Raises:
        ValueError: Shapes that do not belong together.
    """
    n, middle = len(hits), hits.shape[1:-1]
    if hits.ndim < 2 or hits.shape[-1] != LEVELS:
        raise ValueError(f"expected hits of shape (n,…,{LEVELS}), got {tuple(hits.shape)}")
    if peak.shape != (n,):
        raise ValueError(f"expected the peaks of {n} maps, got {tuple(peak.shape)}")
    if weights is not None and (weights.ndim != 2 or weights.shape[1] != n):
        raise ValueError(f"expected weights of shape (S,{n}), got {tuple(weights.shape)}")
    peak, taus = peak.to(torch.int64), taus.to(hits.device)
    lead = () if weights is None else (len(weights),)
    dtype = torch.int64 if weights is None else torch.float64
    counts = torch.zeros((*lead, *middle, len(taus)), dtype=dtype, device=hits.device)
    for value in peak.unique():
        members = peak == value
        flat = hits[members].reshape(int(members.sum()), -1)
        summed = flat.sum(0) if weights is None else weights[:, members].to(torch.float64) @ flat.to(torch.float64)
        level = levels_at(taus, value[None])[0]
        counts += summed.view(*lead, *middle, LEVELS)[..., level]
    return counts


def accuracy_curve(hits: Tensor, peak: Tensor, taus: Tensor, weights: Tensor | None = None) -> Tensor:
    """Share of images that hit, in percent, per threshold: float64 (…,T) of hits (n,…,256) or (S,…,T) with weights.

    Raises:
        ValueError: No image, or shapes that do not belong together.
    """
    return percent(hit_counts(hits, peak, taus, weights), total_weight(len(hits), weights))


def total_weight(n: int, weights: Tensor | None) -> Tensor:
    """Number of images () or summed weights (S,), float64."""
    return torch.tensor(float(n), dtype=torch.float64) if weights is None else weights.to(torch.float64).sum(1)


def percent(counts: Tensor, total: Tensor) -> Tensor:
    """100·counts / total in float64, ``total`` () or (S,) along the first dimension of ``counts``.

    Raises:
        ValueError: ``total`` is zero: there is no image to score.
    """
    if bool((total <= 0).any()):
        raise ValueError("no image to score: the split is empty, or every weight is zero")
    total = total.to(counts.device, torch.float64)
    return 100.0 * counts.to(torch.float64) / total.reshape((*total.shape, *[1] * (counts.ndim - total.ndim)))


def best_tau(curve: Tensor, taus: Tensor) -> float:
    """The first threshold τ at which an accuracy curve (T,) is highest."""
    # argmax does not promise the first of equal values on every device.
    return float(taus[int((curve == curve.max()).nonzero()[0, 0])])


def max_box_acc(hits: Tensor, peak: Tensor, taus: Tensor, weights: Tensor | None = None) -> Tensor:
    """MaxBoxAcc: max over τ of the share of images with IoU >= δ, percent, () or (S,).

    Args:
        hits: bool (n,256) at one IoU threshold δ (0.5 as published), largest contour, any ground-truth box.
        peak: Peaks (n,). taus: Thresholds (T,). weights: Optional (S,n).

    Source: Choe et al., CVPR 2020, §3.2.
    """
    return accuracy_curve(hits, peak, taus, weights).amax(-1)


def max_box_acc_v2(hits: Tensor, peak: Tensor, taus: Tensor, weights: Tensor | None = None) -> Tensor:
    """MaxBoxAccV2: mean over δ of (max over τ of the share of images with IoU >= δ), percent, () or (S,).

    Args:
        hits: bool (n,D,256) at D IoU thresholds δ (.3, .5, .7 as published), all contours, any ground-truth box.
        peak: Peaks (n,). taus: Thresholds (T,). weights: Optional (S,n).

    Source: wsolevaluation, ``--multi_contour_eval``; τ is chosen per δ.
    """
    return accuracy_curve(hits, peak, taus, weights).amax(-1).mean(-1)


def gt_known_loc(hits: Tensor, peak: Tensor, tau: float, weights: Tensor | None = None) -> Tensor:
    """GT-known Loc: share of images with IoU >= δ at threshold τ, percent, () or (S,).

    Args:
        hits: bool (n,256), largest contour, any or first ground-truth box.
        peak: Peaks (n,). tau: Threshold in [0, 1]. weights: Optional (S,n).

    Source: code of *Beyond Softmax* (τ = 0.2, δ = 0.5).
    """
    return accuracy_curve(hits, peak, torch.tensor([tau], dtype=torch.float64), weights)[..., 0]


def top1_loc(hits: Tensor, peak: Tensor, correct: Tensor, tau: float, weights: Tensor | None = None) -> Tensor:
    """Top-1 Loc: share of images that hit *and* whose predicted class is right, percent, () or (S,).

    Args:
        hits: bool (n,256), largest contour, any or first ground-truth box.
        peak: Peaks (n,). correct: bool (n,). tau: Threshold in [0, 1]. weights: Optional (S,n).
    """
    return gt_known_loc(right_hits(hits, correct), peak, tau, weights)


def right_hits(hits: Tensor, correct: Tensor) -> Tensor:
    """Hits (n,…,256) of the images whose predicted class is right (``correct`` bool (n,)); the others never hit."""
    if correct.shape != (len(hits),):
        raise ValueError(f"expected the correctness of {len(hits)} images, got {tuple(correct.shape)}")
    return hits & correct.to(hits.device, torch.bool).view(-1, *[1] * (hits.ndim - 1))


def loc_tau(policy: str, fixed: float, taus: Tensor, own: Tensor | None = None, val: Tensor | None = None) -> float:
    """Threshold τ of the Loc scores under a protocol's ``loc_threshold``.

    Args:
        policy: ``fixed`` (τ = ``fixed``), ``oracle`` (best on ``own``) or ``val`` (best on ``val``).
        fixed: The protocol's ``loc_tau``.
        taus: Thresholds (T,).
        own: Accuracy curve (T,) of the evaluated split (``oracle``).
        val: Accuracy curve (T,) of the validation split (``val``).

    Raises:
        ValueError: Unknown policy, or the curve that it needs is missing.
    """
    if policy == "fixed":
        return fixed
    if policy not in ("oracle", "val"):
        raise ValueError(f"unknown threshold policy {policy!r}; known: 'fixed', 'oracle', 'val'")
    curve = own if policy == "oracle" else val
    if curve is None:
        split = "evaluated" if policy == "oracle" else "validation"
        raise ValueError(f"loc_threshold={policy!r} needs the accuracy curve of the {split} split")
    return best_tau(curve, taus)


def resample_weights(index: Tensor, n: int) -> Tensor:
    """Weights float64 (S,n) of S resamples: how often each of n images occurs in the rows of ``index`` (S,m) int64."""
    weights = torch.zeros((len(index), n), dtype=torch.float64, device=index.device)
    return weights.scatter_add_(1, index, torch.ones_like(index, dtype=torch.float64))
