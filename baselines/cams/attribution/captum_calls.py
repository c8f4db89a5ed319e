"""Input attributions through Captum: the network they read, what they refuse, and maps from colours to pixels."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ...contracts import Backbone
from ...probes.anatomy import Anatomy, anatomy
from ...probes.explained import explained
from ..evidence import Evidence

AFFINE = (
    *(nn.Conv2d, nn.Linear, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d),
    *(nn.Dropout, nn.Identity, nn.Flatten),
)
"""Layers that are affine in evaluation mode."""


def attribute(kind: str, e: Evidence, prepare: Callable[[nn.Module], None] | None = None, **options: Any) -> Tensor:
    """Captum's attribution (B,3,R,R) of the head's target logit, at the batch's images, without graph.

    Args:
        kind: Class of ``captum.attr``.
        e: Evidence with images and backbone.
        prepare: What is done first to the network that is explained, which is a copy.
        **options: Keywords of its ``attribute``.
    """
    from captum import attr

    net = explained(e.backbone, e.whole_head)
    if prepare is not None:
        prepare(net)
    images = e.images.detach().clone().requires_grad_()
    with warnings.catch_warnings(), torch.enable_grad():
        # Captum announces its hooks on ReLUs by a warning at every call.
        warnings.filterwarnings("ignore", message="Setting .*hooks")
        found: Tensor = getattr(attr, kind)(net).attribute(images, target=e.target, **options)
    return found.detach()


def sum_of_colours(attribution: Tensor) -> Tensor:
    """Signed map (B,R,R) of attributions (B,3,R,R): the sum keeps their completeness."""
    return attribution.sum(1)


def largest_of_colours(attribution: Tensor) -> Tensor:
    """Map (B,R,R) of attributions (B,3,R,R): max over colours of the magnitude (Simonyan et al., 2014)."""
    return attribution.abs().amax(1)


def unfit(
    backbone: Backbone,
    layers: Iterable[type[nn.Module]],
    operations: Iterable[str],
    once: bool,
    found: Anatomy | None = None,
) -> str | None:
    """Why a method with rules for ``layers`` cannot follow the network, or None.

    Args:
        backbone: The network.
        layers: Types that the method knows.
        operations: Operations outside layers that do it no harm.
        once: Each layer may be called once only, activations above all.
        found: What is asked; the whole network where None.
    """
    found = anatomy(backbone) if found is None else found
    if found.failure:
        return found.failure
    foreign = sorted({type(m).__name__ for m in found.layers.values() if type(m) not in set(layers)})
    if foreign:
        return f"{backbone.name} has layers without a rule: {', '.join(foreign)}"
    stray = sorted(found.functional - set(operations))
    if stray:
        return f"{backbone.name} computes {', '.join(stray)} outside its layers, where no rule applies"
    if once and (reused := _reused(found)):
        return f"{backbone.name} calls a layer more than once ({reused})"
    return None


def _reused(found: Anatomy) -> str:
    names = sorted(n for n in found.reused if not isinstance(found.layers[n], nn.Identity | nn.Dropout | nn.Flatten))
    return ", ".join(names[:2]) + (" …" if len(names) > 2 else "")
