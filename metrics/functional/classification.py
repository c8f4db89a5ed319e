"""Whether a label is among the classes of highest score."""

from __future__ import annotations

from torch import Tensor


def top_k_hits(logits: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether fewer than k classes score higher than the label, bool (B,).

    A class of the label's own score does not push it out, so that ties need no order.

    Args:
        logits: Class scores (B,C), any floating dtype.
        labels: Labels (B,), integers below C.
        k: 5 for Top-5.

    Raises:
        ValueError: Wrong shapes, or k below 1.

    Source: Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015, §3.3.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
        >>> top_k_hits(logits, torch.tensor([1, 2]), 2)
        tensor([ True, False])
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or k < 1:
        raise ValueError(
            f"top_k_hits: expected logits (B,C), labels (B,) and k >= 1, got {tuple(logits.shape)}, "
            f"{tuple(labels.shape)} and {k}"
        )
    own = logits.gather(1, labels.long()[:, None])
    return (logits > own).sum(1) < k
