"""Feature maps and gradients of every resolution of a network, by one forward and one backward."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...contracts import Backbone
from ...probes.stages import outputs, stage_layers
from ..evidence import Evidence


def lacks_stages(method: str, backbone: Backbone) -> str | None:
    """Why ``method`` finds no several layers in the network, or None."""
    if stage_layers(backbone):
        return None
    return f"{method} needs feature maps finer than the target's, and {backbone.name} states none"


def stage_gradients(e: Evidence) -> tuple[list[Tensor], list[Tensor]]:
    """Feature maps A (B,N,h,w), fine to coarse, the target's last, and the target logit's gradients by them.

    The last one of each resolution (``Backbone.stages``). Rows that a head takes as its context are left out.
    """
    names = stage_layers(e.backbone)
    with torch.enable_grad(), outputs(e.backbone, names) as found:
        images = e.images.detach().clone().requires_grad_()
        features = e.backbone.features(images)
        logits = e.whole_head(features)
        layers = [*(found[name] for name in names), features]
        chosen = logits.gather(1, e.target[:, None]).sum()
        gradients = list(torch.autograd.grad(chosen, layers))
    rows = e.whole_head.context_rows
    layers = [layer.detach() for layer in layers]
    layers[-1], gradients[-1] = layers[-1][:, :, rows:], gradients[-1][:, :, rows:]
    return layers, gradients


def at_one_size(maps: list[Tensor]) -> list[Tensor]:
    """Maps (B,h,w) ≥ 0, each divided by its maximum (zero where that is zero), at the size of the first; bilinear."""
    size = maps[0].shape[-2:]
    scaled = []
    for one in maps:
        largest = one.amax((-2, -1), keepdim=True)
        scaled.append(one / torch.where(largest > 0, largest, 1))
    return [F.interpolate(m[:, None], size=size, mode="bilinear", align_corners=False)[:, 0] for m in scaled]
