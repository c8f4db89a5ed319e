"""What a network of the user's says of itself: size and channels of its images, normalisation, class names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...contracts import IMAGENET_MEAN, IMAGENET_STD
from ..timm.layout import unsupported
from .own_copy import own_copy

PROBE_SIZE = 224
"""Side in pixels of the images that a network is tried on, where it says no other."""


def probe_images(size: int, channels: int, *, count: int = 2, seed: int = 0) -> Tensor:
    """Images (count,channels,size,size) of seeded noise that a network is tried on; nobody's generator is used."""
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


def trial_like(features: Tensor) -> Tensor:
    """Values of both signs, large and small: a pooling of another kind, or an activation before it, shows."""
    return torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).to(features) * 3


@dataclass(frozen=True)
class NetworkFacts:
    """What is said of a network beside its layers.

    Attributes:
        name: In triples.
        mean: Of each channel, in [0, 1].
        std: As ``mean``.
        input_size: Side in pixels that the network needs; None where it takes any.
        class_names: In the order of the logits.
        multi_label: The logits are independent: an image may have several classes.
    """

    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_size: int | None = None
    class_names: tuple[str, ...] = ()
    multi_label: bool = False


def facts_of(
    model: nn.Module | None,
    name: str,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    input_size: int | None = None,
    class_names: Sequence[str] = (),
    multi_label: bool = False,
) -> NetworkFacts:
    """What the user says of a network, completed by what the network says of itself.

    Args:
        model: The network; None where only parts of it are given.
        name: In triples.
        mean: Of each channel; where None, what timm says of it, else ImageNet's of red, green and blue.
        std: As ``mean``.
        input_size: Side in pixels; where None, the only one that the network says it takes, if it does.
        class_names: In the order of the logits; where empty, those in a Hugging Face network's configuration.
        multi_label: The logits are independent.

    Raises:
        UnsupportedNetworkError: Mean and std do not fit each other or the network, or the network has other channels
            than colours and they are not given.
    """
    config: dict[str, Any] = dict(getattr(model, "pretrained_cfg", None) or {})
    said = mean if mean is not None else std
    channels = _channels(model, len(IMAGENET_MEAN if said is None else said), name)
    if mean is None and std is None and channels not in (None, 3):
        what = (
            "mean=(m,) and std=(s,), one value each"
            if channels == 1
            else f"mean=(…) and std=(…), {channels} values each"
        )
        raise unsupported(name, f"it takes images of {channels} channel{'' if channels == 1 else 's'}: give {what}")
    means = _values(mean, config.get("mean", IMAGENET_MEAN))
    stds = _values(std, config.get("std", IMAGENET_STD))
    for what, values in (("mean", means), ("std", stds)):
        if len(values) != (channels or len(means)) or not values:
            wanted = f"it takes images of {channels} channels" if channels else f"mean has {len(means)} values"
            raise unsupported(name, f"{what} has {len(values)} values, one for each channel, and {wanted}")
        if not all(math.isfinite(v) for v in values) or (what == "std" and min(values) <= 0):
            raise unsupported(name, f"{what} {values}: expected finite numbers, of std above zero")
    if input_size is not None and input_size < 1:
        raise unsupported(name, f"input_size {input_size}: expected pixels, at least 1")
    names = tuple(class_names) or _configured_names(model)
    multi_label |= getattr(getattr(model, "config", None), "problem_type", None) == "multi_label_classification"
    return NetworkFacts(name, means, stds, input_size or own_size(model), names, multi_label)


def own_size(model: nn.Module | None) -> int | None:
    """The only side in pixels of the images that a network says it takes: a vision transformer's; else None."""
    configured = getattr(getattr(model, "config", None), "vision_config", None) or getattr(model, "config", None)
    embedding = getattr(model, "patch_embed", None)
    for owner, field in (
        (configured, "image_size"),
        (model, "image_size"),
        (embedding, "img_size"),
    ):
        size = getattr(owner, field, None)
        if isinstance(size, tuple | list) and len(set(size)) == 1:
            size = size[0]
        # Convolutional networks state a size as well, and take any.
        if isinstance(size, int) and size > 0 and _has_positions(model):
            return size
    return None


def _has_positions(model: nn.Module | None) -> bool:
    if model is None:
        return False
    return any("pos" in name.rpartition(".")[2] or "position" in name for name, _ in model.named_parameters())


class _FirstCallError(Exception):
    """The first convolution is called: nothing behind it runs."""


def _channels(model: nn.Module | None, given: int, name: str) -> int | None:
    """Channels of the images of a network, by its first convolution; None where it has none.

    The first is the one that it lists first; where that takes others than the ``given``, as another part may stand
    there, the one that is called first with images of ``given`` channels.
    """
    first = None if model is None else next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if model is None or first is None or first.in_channels == given:
        return None if first is None else given
    reached: list[tuple[int, int]] = []

    def stop(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, nn.Conv2d):
            reached.append((module.in_channels, inputs[0].shape[1]))
            raise _FirstCallError

    net = own_copy(model, name)
    for module in net.modules():
        module.register_forward_pre_hook(stop)
    # What fails is said where the network is run in earnest.
    with suppress(Exception):
        net(probe_images(own_size(model) or PROBE_SIZE, given, count=1).to(next(net.parameters()).device))
    wanted, found = reached[0] if reached else (first.in_channels, 0)
    # A network may make its channels of others itself, as of one grey band three.
    return given if wanted == found else wanted


def _values(given: Sequence[float] | None, own: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(v) for v in (own if given is None else given))


def _configured_names(model: nn.Module | None) -> tuple[str, ...]:
    names = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(names, dict) or any(str(v) == f"LABEL_{k}" for k, v in names.items()):
        return ()
    return tuple(str(names[k]) for k in sorted(names, key=int))
