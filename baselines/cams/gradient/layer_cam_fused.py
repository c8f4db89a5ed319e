"""Layer-CAM fused over several layers."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ...contracts import Backbone
from ...probes.stages import outputs, stage_layers
from ..evidence import Evidence
from ..method import register_cam

GAMMA = 2.0
"""Scale γ of the maps of shallow layers (torch-cam's default)."""


def _refuses(backbone: Backbone) -> str | None:
    if stage_layers(backbone):
        return None
    return f"layercam_fused needs feature maps finer than the target's, and {backbone.name} states none"


@register_cam(
    "layercam_fused",
    title="Layer-CAM, fused",
    source=f"Jiang et al., TIP 2021, Eq. 9 (as torch-cam cites it); γ = {GAMMA:g}, every resolution of the network",
    needs=("features", "images", "layers", "head_gradients"),
    returns="map",
    cost="1 forward + 1 backward",
    expensive=True,
    refuses=_refuses,
    nearest=("layercam",),
)
def layer_cam_fused(e: Evidence) -> Tensor:
    """M = max over layers of tanh(γ·m/max m), m = relu(Σ_i relu(G_i)·A_i) resized; (B,h,w) of the finest layer.

    Layers: the last one of each resolution (``Backbone.stages``), and the target feature map, whose own map is only
    divided by its maximum. G is the gradient of the head's target logit. Weights are never negative, so the clamp
    changes nothing.
    """
    names = stage_layers(e.backbone)
    with torch.enable_grad(), outputs(e.backbone, names) as found:
        images = e.images.detach().clone().requires_grad_()
        features = e.backbone.features(images)
        logits = e.whole_head(features)
        layers = [*(found[name] for name in names), features]
        chosen = logits.gather(1, e.target[:, None]).sum()
        gradients = torch.autograd.grad(chosen, layers)
    rows = e.whole_head.context_rows
    maps = [
        _scaled((g.relu() * a.detach()).sum(1).relu())
        for g, a in zip(gradients, (*layers[:-1], layers[-1]), strict=True)
    ]
    maps[-1] = maps[-1][:, rows:]
    size = maps[0].shape[-2:]
    fused = [F.interpolate(m[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] for m in maps]
    shallow = [torch.tanh(GAMMA * m) for m in fused[:-1]]
    return torch.stack([*shallow, fused[-1]]).amax(0)


def _scaled(maps: Tensor) -> Tensor:
    """Maps (B,h,w) ≥ 0 divided by their maximum; zero where that is zero."""
    largest = maps.amax((-2, -1), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1)
