"""The maps of a batch once more, under another class or a network whose layers are drawn anew: the two sanity checks.

Layers are every module with parameters and ``reset_parameters``: convolutions, linear layers, normalisations with their
statistics. The cascade runs from the classifiers down, in the order in which the network defines its layers. What a
layer draws is a function of its name alone, so each step adds to the one before, in every process and on every device.
"""

from __future__ import annotations

import copy
import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ....baselines.cams import CamMethod
from ....baselines.contracts import Backbone, HeadSpec
from ....hashing import id_seeds
from ....metrics import NotMeasurableError
from ...maps.given_method import folder_of
from .reading import Reading, Seen

_Fresh = dict[str, tuple[dict[str, nn.Parameter], dict[str, Tensor]]]


class Randomised:
    """Networks like a reading's with the last layers drawn anew, made when they are first asked for.

    They share every tensor with the network but those that are drawn, which are held once.
    """

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._fresh: _Fresh = {}
        self._readings: dict[tuple[int, int], Reading] = {}

    def reading(self, step: int, steps: int) -> Reading:
        """The reading of the network whose last ⌈step/steps⌉ of its layers are random."""
        if (step, steps) not in self._readings:
            network = self._reading.network
            names = layers_from_the_top(network)
            chosen = names[: math.ceil(step * len(names) / steps)]
            self._readings[step, steps] = self._reading.of(self._with_random(network, chosen))
        return self._readings[step, steps]

    def see_again(self, images: Tensor, seen: Seen) -> SeenAgain:
        """What the randomisation tests read of a batch of images uint8 (B,3,R,R) after its plain forward."""
        return SeenAgain(self, images, seen, {})

    def _with_random(self, network: Backbone, names: list[str]) -> Backbone:
        memo = {id(t): t for t in (*network.parameters(), *network.buffers())}
        other = copy.deepcopy(network, memo)
        for name in names:
            layer = other.get_submodule(name)
            if name not in self._fresh:
                self._fresh[name] = _drawn(layer, name)
            parameters, buffers = self._fresh[name]
            layer._parameters.update(parameters)
            layer._buffers.update(buffers)
        return other


def layers_from_the_top(network: Backbone) -> list[str]:
    """Names of the layers that can be drawn anew: those of the heads, last ones first, then those of the body."""
    names = [name for name, m in network.named_modules() if _can_be_drawn(m)]
    heads = [name for name in names if name.startswith("heads.")]
    body = [name for name in names if not name.startswith("heads.")]
    return heads[::-1] + body[::-1]


def _can_be_drawn(module: nn.Module) -> bool:
    own = next(module.parameters(recurse=False), None) is not None
    return own and callable(getattr(module, "reset_parameters", None))


def _drawn(layer: nn.Module, name: str) -> tuple[dict[str, nn.Parameter], dict[str, Tensor]]:
    """New parameters and buffers of a layer, drawn on the CPU, so that they are the same on every device."""
    like = next(layer.parameters(recurse=False))
    fresh = copy.deepcopy(layer).cpu()
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh.reset_parameters()  # type: ignore[operator]
    fresh = fresh.to(like.device).requires_grad_(False).eval()
    return dict(fresh.named_parameters(recurse=False)), dict(fresh.named_buffers(recurse=False))


@dataclass(frozen=True)
class SeenAgain:
    """A batch, and its forwards through the random networks, which all methods share."""

    random: Randomised
    images: Tensor
    seen: Seen
    _forwards: dict[tuple[int, int], Seen]

    def with_random_weights(self, step: int, steps: int) -> Seen:
        """The forward of the random network, read for the classes of the trained one."""
        if (step, steps) not in self._forwards:
            reading = self.random.reading(step, steps)
            self._forwards[step, steps] = reading.see(self.images, self.seen.image_ids, self.seen.target)
        return self._forwards[step, steps]

    def under_another_class(self) -> Seen:
        """The same forward, read for a class that is not the target; ValueError where there is no other."""
        classes = self.seen.logits.shape[1]
        if classes < 2:
            raise ValueError("logit randomisation draws the map of another class, and the network has one class")
        seeds = id_seeds(self.seen.image_ids, self.seen.target.device)
        return self.seen.under((self.seen.target + 1 + seeds % (classes - 1)) % classes)


@dataclass(frozen=True)
class Redrawn:
    """``metrics.Redraw`` of one triple's maps."""

    again: SeenAgain
    method: CamMethod
    head: HeadSpec

    def another_class(self) -> Tensor:
        """Maps (B,R,R), normalised, of a class other than the target."""
        return self._located(self.again.under_another_class())

    def random_weights(self, step: int, steps: int) -> Tensor:
        """Maps (B,R,R), normalised, of the network with ``step`` of ``steps`` shares of its layers drawn anew."""
        return self._located(self.again.with_random_weights(step, steps))

    def _located(self, seen: Seen) -> Tensor:
        if folder_of(self.method) is not None:
            raise NotMeasurableError("it draws maps once more, and these were made elsewhere")
        return seen.score_map(self.method, self.head).locate()[1]
