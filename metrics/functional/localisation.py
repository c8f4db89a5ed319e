"""Localisation scores: from hit bits to counts over the threshold τ, and from counts to percentages.

A *hit* says that the IoU of an image at a level reaches a threshold; levels 0 … 255 are those of ``level_ious``.
*Counts* say how many images hit at each threshold τ, the last dimension T. The torchmetrics classes, the tables, the
bootstrap and the threshold transfer all score counts with the functions below, so that their numbers are the same.
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

    Args:
        name: ``arange1000`` or ``linspace1001``.

    Raises:
        ValueError: Unknown name.

    Examples:
        >>> grid = tau_grid("arange1000")
        >>> len(grid), float(grid[200])
        (1000, 0.2)
    """
    if name == "arange1000":
        return torch.from_numpy(np.arange(0, 1, 0.001))
    if name == "linspace1001":
        return torch.from_numpy(np.arange(1001) / 1000)
    raise ValueError(f"unknown threshold grid {name!r}; known: 'arange1000', 'linspace1001'")


def levels_at(taus: Tensor, peak: Tensor) -> Tensor:
    """Level int(τ·peak), int64 (n,T); the published expression.

    Args:
        taus: Thresholds (T,), fractions of the peak.
        peak: Highest levels (n,) of the maps, or what else a threshold is a fraction of.

    Examples:
        >>> import torch
        >>> levels_at(torch.tensor([0.0, 0.2, 0.999], dtype=torch.float64), torch.tensor([255, 0]))
        tensor([[  0,  51, 254],
                [  0,   0,   0]])
    """
    return (taus.double()[None, :] * peak.to(torch.float64)[:, None]).to(torch.int64)


def pack_hits(ious: Tensor, thresholds: Sequence[float]) -> Tensor:
    """Hit bits uint8 (B,T,32) of IoUs (B,256) float64 at T IoU thresholds.

    Level l is bit l mod 8 (most significant first, as ``np.packbits``) of byte l // 8; it says IoU >= threshold.

    Args:
        ious: IoUs (B,256) float64, one for each level; the bits are packed on their device.
        thresholds: IoU thresholds, T of them, at least one.

    Raises:
        ValueError: Wrong shape, or on the CPU an IoU that is NaN (names the image's row).

    Examples:
        >>> import torch
        >>> ious = torch.zeros(1, 256, dtype=torch.float64)
        >>> ious[0, :3] = 0.6
        >>> pack_hits(ious, (0.5, 0.7))[0, :, :2]
        tensor([[224,   0],
                [  0,   0]], dtype=torch.uint8)
    """
    if ious.ndim != 2 or ious.shape[1] != LEVELS:
        raise ValueError(f"pack_hits: expected IoUs of shape (B,{LEVELS}), got {tuple(ious.shape)}")
    on_host = ious.device.type == "cpu"
    if on_host and bool(ious.isnan().any()):
        raise ValueError(f"pack_hits: the IoUs of image {int(ious.isnan().any(1).int().argmax())} hold NaN")
    hits = torch.stack([ious.double() >= threshold for threshold in thresholds], 1)
    if on_host:
        return torch.from_numpy(np.packbits(hits.numpy(), axis=-1))
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=ious.device)
    return (hits.view(*hits.shape[:2], BYTES, 8).to(torch.uint8) << places).sum(-1, dtype=torch.uint8)


def unpack_hits(packed: Tensor) -> Tensor:
    """Hits bool (…,256) of hit bits uint8 (…,32), the inverse of ``pack_hits``.

    Raises:
        ValueError: The last dimension is not 32 bytes.

    Examples:
        >>> import torch
        >>> hits = unpack_hits(torch.tensor([224] + [0] * 31, dtype=torch.uint8))
        >>> hits[:5].tolist()
        [True, True, True, False, False]
    """
    if packed.dtype != torch.uint8 or packed.shape[-1:] != (BYTES,):
        raise ValueError(f"unpack_hits: expected uint8 (…,{BYTES}), got {packed.dtype} {tuple(packed.shape)}")
    bits = np.unpackbits(np.ascontiguousarray(packed.cpu().numpy()), axis=-1)
    return torch.from_numpy(bits).bool()


def hits_at(hits: Tensor, peak: Tensor, tau: float) -> Tensor:
    """Hits bool (n,…) at one threshold τ.

    Args:
        hits: bool (n,…,256), whether an image hits at a level.
        peak: Highest levels (n,) of the maps, or what else a threshold is a fraction of.
        tau: Threshold τ in [0, 1].

    Examples:
        >>> import torch
        >>> hits = torch.zeros(2, 256, dtype=torch.bool)
        >>> hits[0, :100] = True
        >>> hits_at(hits, torch.tensor([255, 255]), 0.2)
        tensor([ True, False])
    """
    level = levels_at(torch.tensor([tau], dtype=torch.float64), peak.cpu())[:, 0].to(hits.device)
    index = level.view(-1, *[1] * (hits.ndim - 1)).expand(*hits.shape[:-1], 1)
    return hits.gather(-1, index)[..., 0]


def hit_counts(hits: Tensor, peak: Tensor, taus: Tensor) -> Tensor:
    """Images that hit at each threshold, int64 (…,T).

    Maps share few peaks (255, or 0 for an empty map), so levels are counted per peak and expanded to τ at the end.

    Args:
        hits: bool (n,…,256), whether an image hits at a level.
        peak: Highest levels (n,) of the maps, or what else a threshold is a fraction of (``level_percentile``).
        taus: Thresholds (T,), float64.

    Raises:
        ValueError: Shapes that do not belong together.

    Examples:
        >>> import torch
        >>> hits = torch.zeros(2, 256, dtype=torch.bool)
        >>> hits[0, :100], hits[1, :200] = True, True
        >>> hit_counts(hits, torch.tensor([255, 255]), torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64))
        tensor([2, 1, 0])
    """
    n, middle = len(hits), hits.shape[1:-1]
    if hits.ndim < 2 or hits.shape[-1] != LEVELS:
        raise ValueError(f"expected hits of shape (n,…,{LEVELS}), got {tuple(hits.shape)}")
    if peak.shape != (n,):
        raise ValueError(f"expected the peaks of {n} maps, got {tuple(peak.shape)}")
    taus = taus.to(hits.device)
    counts = torch.zeros((*middle, len(taus)), dtype=torch.int64, device=hits.device)
    for value in peak.unique():
        summed = hits[peak == value].sum(0)
        counts += summed[..., levels_at(taus, value[None].to(hits.device))[0]]
    return counts


def percent(counts: Tensor, total: Tensor | float) -> Tensor:
    """100·counts / total, float64 (…).

    Args:
        counts: Images, or weights of images (…), any dtype.
        total: All images () or (…), broadcast against ``counts``; NaN where a resample has none.

    Raises:
        ValueError: ``total`` is zero: there is no image to score.

    Examples:
        >>> import torch
        >>> percent(torch.tensor([1, 3]), 4.0)
        tensor([25., 75.], dtype=torch.float64)
    """
    total = torch.as_tensor(total, dtype=torch.float64, device=counts.device)
    if bool((total <= 0).any()):
        raise ValueError("no image to score: the split is empty, or no image has what the score needs")
    return 100.0 * counts.to(torch.float64) / total


def best_threshold(counts: Tensor) -> Tensor:
    """Index int64 (…) of the first threshold at which counts (…,T) are highest.

    Examples:
        >>> import torch
        >>> best_threshold(torch.tensor([[1, 5, 5, 2], [3, 0, 0, 0]]))
        tensor([1, 0])
    """
    # argmax does not promise the first of equal values on every device.
    index = torch.arange(counts.shape[-1], device=counts.device)
    return torch.where(counts == counts.amax(-1, keepdim=True), index, counts.shape[-1]).amin(-1)


def at_threshold(counts: Tensor, index: Tensor | int) -> Tensor:
    """Counts (…) of counts (…,T) at the thresholds of ``index`` (…) or at one of all.

    Examples:
        >>> import torch
        >>> at_threshold(torch.tensor([[1, 5, 2], [3, 0, 7]]), torch.tensor([1, 2]))
        tensor([5, 7])
    """
    chosen = torch.as_tensor(index, device=counts.device).expand(counts.shape[:-1])
    return counts.gather(-1, chosen[..., None])[..., 0]


def max_box_acc(counts: Tensor, total: Tensor | float) -> Tensor:
    """MaxBoxAcc in percent, float64 (…): max over τ of the share of images with IoU >= δ.

    Args:
        counts: Images (…,T) with IoU >= δ (0.5 as published); largest contour, any ground-truth box.
        total: Images with ground truth () or (…).

    Raises:
        ValueError: ``total`` is zero.

    Source: Choe et al., CVPR 2020, §3.2.

    Examples:
        >>> import torch
        >>> max_box_acc(torch.tensor([1, 3, 2]), 4.0)
        tensor(75., dtype=torch.float64)
    """
    return percent(counts.amax(-1), total)


def max_box_acc_v2(counts: Tensor, total: Tensor | float) -> Tensor:
    """MaxBoxAccV2 in percent, float64 (…): mean over δ of (max over τ of the share of images with IoU >= δ).

    Args:
        counts: Images (D,…,T) at D IoU thresholds δ (.3, .5, .7 as published); all contours, any ground-truth box.
        total: Images with ground truth () or (…).

    Raises:
        ValueError: ``total`` is zero.

    Source: wsolevaluation, ``--multi_contour_eval``; τ is chosen per δ.

    Examples:
        >>> import torch
        >>> max_box_acc_v2(torch.tensor([[4, 3], [2, 3], [1, 0]]), 4.0).round(decimals=2)
        tensor(66.6700, dtype=torch.float64)
    """
    return percent(counts.amax(-1).to(torch.float64).mean(0), total)


def loc_threshold(located: Tensor, policy: str, fixed: int | None = None) -> Tensor:
    """Index int64 (…) of the threshold of GT-known Loc and Top-1 Loc, which are always read at the same one.

    Under ``oracle`` it is the best one for GT-known Loc: Top-1 Loc then speaks of the same boxes, and what a network
    does not recognise cannot change which boxes are drawn.

    Args:
        located: Located images (…,T), whatever their predicted class.
        policy: ``oracle``, or ``fixed`` and ``val``, whose threshold does not depend on these images.
        fixed: Index of that threshold.

    Raises:
        ValueError: Unknown policy, or no ``fixed`` where the policy needs one.

    Source: SEMANTICS §3; wsolevaluation chooses one threshold by the box accuracy, without looking at classes.

    Examples:
        >>> import torch
        >>> loc_threshold(torch.tensor([1, 5, 2]), "oracle")
        tensor(1)
        >>> loc_threshold(torch.tensor([1, 5, 2]), "fixed", 2)
        tensor(2)
    """
    if policy == "oracle":
        return best_threshold(located)
    if policy not in ("fixed", "val"):
        raise ValueError(f"unknown threshold policy {policy!r}; known: 'fixed', 'oracle', 'val'")
    if fixed is None:
        raise ValueError(f"loc_threshold={policy!r}: the threshold does not come from these images and must be given")
    return torch.full(located.shape[:-1], fixed, dtype=torch.int64, device=located.device)


def best_tau(located: Tensor, taus: Tensor) -> float:
    """The threshold τ of ``taus`` (T,) that located images (T,) choose for another split: the first best one.

    Examples:
        >>> import torch
        >>> best_tau(torch.tensor([1, 5, 5]), torch.tensor([0.0, 0.5, 0.9], dtype=torch.float64))
        0.5
    """
    return float(taus[int(best_threshold(located))])
