"""A network and one head as a plain module from images to logits, for methods that put hooks on its layers."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

from torch import Tensor, nn

from ..contracts import Backbone, Head
from ..heads.heads import GapLinear

if TYPE_CHECKING:
    from timm.layers import BatchNormAct2d


class PooledLinear(nn.Module):
    """GAP and linear as layers of their own, so that a rule for each applies; shares its parameters."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.pool, self.linear = nn.AdaptiveAvgPool2d(1), linear

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,P,Q)."""
        logits: Tensor = self.linear(self.pool(features).flatten(1))
        return logits


class Explained(nn.Module):
    """Normalised images (B,3,R,R) -> logits (B,C) of one head.

    Every layer is this module's own, so that hooks never reach the shared network, and works out of place; parameters
    and buffers are the network's.
    """

    def __init__(self, body: Backbone, head: nn.Module) -> None:
        super().__init__()
        self.body, self.head = body, head

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,C) of normalised images (B,3,R,R)."""
        logits: Tensor = self.head(self.body.features(images))
        return logits


def explained(backbone: Backbone, head: Head) -> nn.Module:
    """The network under ``head``, normalised images to logits, with layers of its own."""
    whole = _whole(backbone, head)
    _split_normalisations(whole)
    whole.eval()
    for module in whole.modules():
        if getattr(module, "inplace", False) is True:
            cast("nn.ReLU", module).inplace = False
    return whole


def explained_head(backbone: Backbone, head: Head) -> nn.Module:
    """The head of ``explained`` alone; one that runs the whole network has no layers of its own to follow."""
    net = explained(backbone, head)
    return net.head if isinstance(net, Explained) else head


def _whole(backbone: Backbone, head: Head) -> nn.Module:
    shared = {id(t): t for module in (backbone, head) for t in (*module.parameters(), *module.buffers())}
    one = head.whole_network()
    if one is not None:
        return copy.deepcopy(one, dict(shared))
    memo: dict[int, object] = {**shared, id(backbone.heads): nn.ModuleDict()}
    body = copy.deepcopy(backbone, memo)
    # An empty container is a layer without a rule to Captum.
    del body.heads
    net: nn.Module = copy.deepcopy(head, dict(shared))
    if isinstance(net, GapLinear) and net.kind == "gap_linear":
        # In evaluation mode its subclasses (dropout before the linear layer) are the same function.
        net = PooledLinear(net.linear)
    return Explained(body, net)


def _split_normalisations(net: nn.Module) -> None:
    """Make two layers of timm's batch normalisation with an activation of its own: a rule works on one layer each."""
    if not any(type(module).__module__.startswith("timm.") for module in net.modules()):
        return
    from timm.layers import BatchNormAct2d

    for module in list(net.modules()):
        for name, child in module.named_children():
            if type(child) is BatchNormAct2d and child.track_running_stats:
                setattr(module, name, _in_two(child))


def _in_two(norm: BatchNormAct2d) -> nn.Sequential:
    """The batch normalisation, which shares its parameters and statistics, and what follows in it."""
    plain = nn.BatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, device="meta")
    for name, parameter in norm.named_parameters(recurse=False):
        plain.register_parameter(name, parameter)
    for name, buffer in norm.named_buffers(recurse=False):
        plain.register_buffer(name, buffer)
    return nn.Sequential(plain, cast(nn.Module, norm.drop), cast(nn.Module, norm.act))
