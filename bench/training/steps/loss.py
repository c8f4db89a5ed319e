"""Losses of the two branches, always from logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ....baselines.contracts import Branch


def balanced_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Class-balanced binary cross entropy of the sigmoid branch, a scalar.

    ``-(1/B) Σ_n [ (1-1/C)·log s_y + (1/C)·Σ_{k≠y} log(1-s_k) ]`` with ``s = sigmoid(logits)``: *Beyond Softmax*
    (BMVC 2025), Eq. 12. It equals ``BCEWithLogits(pos_weight=C-1, reduction="mean")`` over B·C terms, which works on
    log-sigmoids and therefore stays finite where ``s`` saturates.

    Args:
        logits: (B,C) float, C >= 2.
        labels: (B,) int64 in [0, C).

    Raises:
        ValueError: The shapes do not fit, or C < 2 (the loss would ignore the positive class).
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"expected logits (B,C) and labels (B,), got {tuple(logits.shape)} and {tuple(labels.shape)}")
    classes = logits.shape[1]
    if classes < 2:
        raise ValueError(f"Eq. 12 needs at least two classes, got {classes}")
    targets = torch.zeros_like(logits).scatter_(1, labels[:, None], 1.0)
    weight = torch.full((), classes - 1.0, dtype=logits.dtype, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight)


def branch_loss(branch: Branch, logits: Tensor, labels: Tensor) -> Tensor:
    """Training loss of a branch (logits (B,C), labels (B,)): Eq. 12 for sigmoid, cross entropy for softmax."""
    return balanced_bce(logits, labels) if branch == "sigmoid" else F.cross_entropy(logits, labels)
