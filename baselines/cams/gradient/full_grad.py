"""FullGrad."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...contracts import Backbone
from ...probes.anatomy import LINEAR_OPS, anatomy
from ...probes.explained import explained
from ..attribution.captum_calls import AFFINE, unfit
from ..evidence import Evidence
from ..method import register_cam

EPS = 1e-6
HOMOGENEOUS = (nn.ReLU, nn.LeakyReLU, nn.MaxPool2d)
"""Layers without a bias of their own: f(a·z) = a·f(z) for a > 0."""
CURVED = (nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.ELU, nn.Tanh, nn.Sigmoid, nn.Softplus)
"""Pointwise activations; their bias is σ(z) − σ'(z)·z (the paper's implicit bias)."""
Part = tuple[Tensor, Callable[[], Tensor]]


def _refuses(backbone: Backbone) -> str | None:
    layers = (*AFFINE, *HOMOGENEOUS, *CURVED, *_convolutions(backbone))
    reason = unfit(backbone, layers, {*LINEAR_OPS, "relu", "max_pool2d_with_indices"}, once=False)
    return reason and f"FullGrad adds up the biases of layers, and {reason}"


@register_cam(
    "fullgrad",
    title="FullGrad",
    source="Srinivas & Fleuret, NeurIPS 2019 (FullGrad saliency); ψ as in the authors' code",
    needs=("images", "layers", "input_gradients"),
    returns="map",
    cost="1 forward + 1 backward",
    expensive=True,
    refuses=_refuses,
    nearest=("layercam_fused", "saliency"),
)
def full_grad(e: Evidence) -> Tensor:
    """M = Σ_colours ψ(x ⊙ ∂y/∂x) + Σ_layers Σ_channels ψ(b ⊙ ∂y/∂z), y the head's target logit; (B,R,R), ≥ 0.

    ψ is the magnitude, min-max normalised over all channels of a layer, then resized. The parts themselves are
    complete: with the linear layers' biases they add up to y (``decomposition``). ψ drops their signs, as in the
    authors' code, and linear layers behind the pooling, which have no place in the image.
    """
    images, parts = decomposition(e)
    size = images.shape[-2:]
    total = _scaled(images).sum(1)
    for part in (p for p in parts if p.ndim == 4 and p.shape[-1] > 1):
        up = F.interpolate(_scaled(part).sum(1, keepdim=True), size=size, mode="bilinear", align_corners=False)
        total = total + up[:, 0]
    return total


def _convolutions(backbone: Backbone) -> set[type[nn.Module]]:
    """Types of timm's own convolutions: they pad the image or standardise the weights, and add the bias as any does."""
    layers = anatomy(backbone).layers.values()
    return {type(m) for m in layers if isinstance(m, nn.Conv2d) and type(m).__module__.startswith("timm.layers.")}


def decomposition(e: Evidence) -> tuple[Tensor, list[Tensor]]:
    """x ⊙ ∂y/∂x (B,3,R,R), and b ⊙ ∂y/∂z (B,N,…) of every layer with a bias; together they add up to y."""
    net, found = explained(e.backbone, e.whole_head), list[Part]()
    for module in net.modules():
        if (bias := _bias_of(module)) is not None:
            module.register_forward_hook(partial(_keep, found, bias))
    with torch.enable_grad():
        images = e.images.detach().clone().requires_grad_()
        chosen = net(images).gather(1, e.target[:, None]).sum()
        gradients = torch.autograd.grad(chosen, [images, *(made for made, _ in found)])
    with torch.no_grad():
        parts = [gradient * bias() for gradient, (_, bias) in zip(gradients[1:], found, strict=True)]
        return gradients[0] * images, parts


def _keep(
    found: list[Part], bias: Callable[[Tensor], Tensor], module: nn.Module, given: tuple[Any, ...], made: Tensor
) -> Tensor:
    del module
    before = given[0].detach()
    found.append((made, lambda: bias(before)))
    # A copy goes on: a sum in place would otherwise change what the gradient is taken of.
    return made.clone()


def _bias_of(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    """A layer's bias as a function of its input, broadcastable against its output; None where it has none."""
    if isinstance(module, nn.Conv2d | nn.Linear) and (own := module.bias) is not None:
        shape = (1, -1, 1, 1) if isinstance(module, nn.Conv2d) else (1, -1)
        return lambda _: own.view(shape)
    if isinstance(module, nn.BatchNorm2d):
        return lambda _: _shift(module).view(1, -1, 1, 1)
    if isinstance(module, CURVED):
        return partial(_implicit, module)
    return None


def _shift(norm: nn.BatchNorm2d) -> Tensor:
    """What batch normalisation adds in evaluation mode: β − μ·γ/√(σ² + ε)."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError("batch normalisation without running statistics is no affine layer")
    scale = torch.rsqrt(variance + norm.eps)
    return norm.bias - mean * scale * norm.weight if norm.affine else -mean * scale


def _implicit(activation: nn.Module, before: Tensor) -> Tensor:
    with torch.enable_grad():
        z = before.clone().requires_grad_()
        # Not a call: the layer's hook would take it for one of the network's.
        made: Tensor = activation.forward(z)
        (slope,) = torch.autograd.grad(made.sum(), z)
    return made.detach() - slope * before


def _scaled(part: Tensor) -> Tensor:
    """|part| (B,N,h,w), min-max normalised over all of an image's values."""
    size = part.abs()
    low = size.amin((1, 2, 3), keepdim=True)
    return (size - low) / ((size - low).amax((1, 2, 3), keepdim=True) + EPS)
