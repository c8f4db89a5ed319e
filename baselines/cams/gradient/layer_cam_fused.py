"""Layer-CAM fused over several layers."""

from functools import partial

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .layers import at_one_size, lacks_stages, stage_gradients

GAMMA = 2.0
"""Scale γ of the maps of shallow layers (torch-cam's default)."""


@register_cam(
    "layercam_fused",
    title="Layer-CAM, fused",
    source=f"Jiang et al., TIP 2021, Eq. 9 (as torch-cam cites it); γ = {GAMMA:g}, every resolution of the network",
    needs=("features", "images", "layers", "head_gradients"),
    returns="map",
    cost="1 forward + 1 backward",
    expensive=True,
    refuses=partial(lacks_stages, "layercam_fused"),
    nearest=("layercam",),
)
def layer_cam_fused(e: Evidence) -> Tensor:
    """M = max over layers of tanh(γ·m/max m), m = relu(Σ_i relu(G_i)·A_i) resized; (B,h,w) of the finest layer.

    Layers: the last one of each resolution (``Backbone.stages``), and the target feature map, whose own map is only
    divided by its maximum. G is the gradient of the head's target logit. Weights are never negative, so the clamp
    changes nothing.
    """
    layers, gradients = stage_gradients(e)
    maps = at_one_size([(g.relu() * a).sum(1).relu() for a, g in zip(layers, gradients, strict=True)])
    return torch.stack([*(torch.tanh(GAMMA * m) for m in maps[:-1]), maps[-1]]).amax(0)
