"""What the paper's networks share: torchvision's layers as a body, and torchvision's own weights.

A body keeps torchvision's names, so that ``body.layer4.0.conv1.weight`` is torchvision's ``layer4.0.conv1.weight``.
torchvision's models are imported when a network is built: the import takes seconds, and most runs need none of them.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from ..contracts import Backbone
from ..heads.heads import FRESH_STD
from ..weights.weight_files import WeightsError
from .checkpoints import fill, translate

IMAGENET_CLASSES = 1000


def children(net: nn.Module, names: Iterable[str]) -> list[tuple[str, nn.Module]]:
    """The named children of ``net``; AttributeError if one is absent."""
    return [(name, net.get_submodule(name)) for name in names]


def convolution(net: nn.Module, name: str) -> nn.Conv2d:
    """The convolution of that name inside ``net``; TypeError if it is another layer."""
    layer = net.get_submodule(name)
    if not isinstance(layer, nn.Conv2d):
        raise TypeError(f"{name} is a {type(layer).__name__}, expected a convolution")
    return layer


def he_initialise(module: nn.Module) -> None:
    """Convolutions N(0, 2/fan_out), biases 0, linear weights N(0, 0.01): torchvision's VGG and ResNet start."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=FRESH_STD)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@dataclass(frozen=True)
class TorchvisionWeights:
    """A ``pretrained`` function that fills a network with torchvision's weights ``name`` through its own loader.

    Layers of ours that torchvision's network lacks (conv6, the new classifier) keep their fresh parameters, and
    ``needs_training`` is set.
    """

    name: str
    """``MODEL_Weights.VERSION``."""

    def __call__(self, backbone: Backbone) -> str:
        """Fill ``backbone``; WeightsError where the weights cannot be had."""
        ours, account = translate(backbone, self.fetch(backbone.name), self.url)
        fill(backbone, ours, account)
        return f"torchvision {self.name}"

    @property
    def url(self) -> str:
        """Where torchvision fetches them."""
        from torchvision.models import get_weight

        return str(get_weight(self.name).url)

    @property
    def file(self) -> Path:
        """Where torchvision keeps them; absent before they are first fetched."""
        return Path(torch.hub.get_dir()) / "checkpoints" / self.url.rpartition("/")[2]

    def fetch(self, wanted_by: str) -> dict[str, Tensor]:
        """Tensors under torchvision's names, downloaded where ``file`` is absent; WeightsError where that fails."""
        from torchvision.models import get_weight

        try:
            # check_hash: a download that was cut short is refused instead of kept; weights_only: no code is run.
            return dict(get_weight(self.name).get_state_dict(progress=False, check_hash=True, weights_only=True))
        except (URLError, OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise WeightsError(
                f"{wanted_by}: torchvision cannot fetch {self.name} ({type(error).__name__}: {error}). "
                f"Download {self.url} to {self.file.parent}, or give a file with --weights FILE, or --no-pretrained "
                "(a training recipe: init: random)"
            ) from error
