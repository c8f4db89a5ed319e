"""Section 3.2 of the paper as a measurement: shifts of the weights that leave softmax unchanged but move its map."""

from __future__ import annotations

import torch
from torch import Tensor

from ..metrics.functional.maps import min_max


def shifted_maps(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, delta: float, channel: int | None = None
) -> tuple[Tensor, Tensor]:
    """Probabilities and CAM of a GAP + linear head whose weights are shifted by ``delta`` for all classes alike.

    ``channel=i``: only the weights of channel i, so M' = M + δ·F_i (Eq. 9). ``None``: every weight; with a negative
    ``delta`` this is the sign collapse of Eq. 10.

    Args:
        features: F (B,N,P,Q). weight: (C,N). bias: (C,). target: Class (B,) whose map is drawn.
        delta: Shift of the weights. channel: Channel i, or None for all.

    Returns:
        Softmax probabilities (B,C) and signed maps (B,P,Q), float64.
    """
    features, weight = features.double(), weight.double().clone()
    if channel is None:
        weight += delta
    else:
        weight[:, channel] += delta
    probabilities = (features.mean((-2, -1)) @ weight.T + bias.double()).softmax(1)
    return probabilities, torch.einsum("bn,bnpq->bpq", weight[target], features)


def shift_sensitivity(
    features: Tensor, weight: Tensor, bias: Tensor, target: Tensor, delta: float, channel: int | None = None
) -> Tensor:
    """Mean absolute change (B,) of the min-max normalised ReLU map per unit of shift; signature as ``shifted_maps``."""
    before = shifted_maps(features, weight, bias, target, 0.0, channel)[1]
    after = shifted_maps(features, weight, bias, target, delta, channel)[1]
    change = min_max(after.clamp_min(0))[0] - min_max(before.clamp_min(0))[0]
    return change.abs().mean((-2, -1)) / abs(delta)
