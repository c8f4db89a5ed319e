"""Zoom-CAM."""

from functools import partial

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .layers import at_one_size, lacks_stages, stage_gradients


@register_cam(
    "zoomcam",
    title="Zoom-CAM",
    source="Shi et al., ICPR 2020 (arXiv 2010.08644); the last layer of every resolution of the network",
    needs=("features", "images", "layers", "head_gradients"),
    returns="map",
    cost="1 forward + 1 backward",
    expensive=True,
    refuses=partial(lacks_stages, "zoomcam"),
    nearest=("hirescam",),
)
def zoom_cam(e: Evidence) -> Tensor:
    """M = max over layers of m/max m resized, m = relu(Σ_i G_i ⊙ A_i); (B,h,w) of the finest layer.

    G is the gradient of the head's target logit by the layer's feature maps A, so each layer's m is its HiRes-CAM. The
    paper fuses all convolutional layers of a VGG; here it is the last one of each resolution (``Backbone.stages``) and
    the target feature map. Negative weights stay, as in the paper: the clamp is not applied.
    """
    layers, gradients = stage_gradients(e)
    maps = at_one_size([(g * a).sum(1).relu() for a, g in zip(layers, gradients, strict=True)])
    return torch.stack(maps).amax(0)
