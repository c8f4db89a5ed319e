"""A small network of one's own, and what its maps and gradients are by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cambench.baselines.cams import Evidence
from cambench.baselines.contracts import Backbone

HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


class Small(nn.Module):
    """Two convolutions, functional activations and pooling, one linear layer."""

    def __init__(self, classes: int = 5, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm = nn.Conv2d(channels, 6, 3, stride=16, padding=1), nn.BatchNorm2d(6)
        self.body, self.fc = nn.Conv2d(6, 8, 1), nn.Linear(8, classes)
        nn.init.normal_(self.fc.weight)

    def maps(self, x: Tensor) -> Tensor:
        return F.relu(self.body(F.relu(self.norm(self.stem(x)))))

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.maps(x).mean((-2, -1)))


def evidence(net: Backbone, images: Tensor) -> Evidence:
    with torch.no_grad():
        features = net.features(images)
    ids = [str(i) for i in range(len(images))]
    return Evidence(features, net.head(), torch.arange(len(images)), ids, images, net)


def pictures(count: int = 2, channels: int = 3, size: int = 64) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(7))


def by_hand(model: nn.Module, layer: str, images: Tensor, pick: Callable[[Any], Tensor]) -> tuple[Tensor, Tensor]:
    """The layer's output and the gradient of each image's own class there, by autograd."""
    kept: list[Tensor] = []
    hook = model.get_submodule(layer).register_forward_hook(lambda m, given, out: kept.append(out))
    logits = pick(model.eval()(images))
    hook.remove()
    chosen = logits.gather(1, torch.arange(len(images))[:, None]).sum()
    (gradient,) = torch.autograd.grad(chosen, kept[-1])
    return kept[-1].detach(), gradient
