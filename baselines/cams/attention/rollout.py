"""Attention Rollout."""

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .class_attention import patch_attention


@register_cam(
    "rollout",
    title="Attention Rollout",
    source="Abnar & Zuidema, ACL 2020; mean of the heads, residual weight 0.5",
    needs=("images", "attention"),
    returns="map",
    headless=True,
    cost="2 forwards",
    expensive=True,
)
def rollout(e: Evidence) -> Tensor:
    """Ã = Π_l ½(A_l + I), last layer first; the class token's row over the patches; (B,P,Q).

    A_l is the mean over heads of layer l's attention; its rows sum to one, so ½(A + I) needs no normalisation. Networks
    that average their patch tokens have no row that decides: theirs is the mean of the patches' rows. The class plays
    no part.
    """
    layers = e.attention
    identity = torch.eye(layers.shape[-1], dtype=layers.dtype, device=layers.device)
    joint = (layers[0] + identity) / 2
    for attention in layers[1:]:
        joint = (attention + identity) / 2 @ joint
    return patch_attention(e, joint)
