"""Self-produced guidance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Backbone, min_max_map
from ..probes.stages import outputs
from .new_layers import (
    base_name,
    body_of,
    class_map,
    classifier_of,
    convolution_relu,
    one_channel,
    set_body,
    set_classifier,
)
from .wsol_method import Range, Terms, WsolMethod, register_wsol

SIDE = 224
"""Side of the targets, whatever the size of the images."""
MIN_PIXELS, SHARE_OF_MAX = 30, 0.7


@dataclass(frozen=True)
class _Places:
    """Where a network is read: the layers of B1 and B2 with their channels, width of B and C, what changes behind."""

    first: tuple[str, int]
    second: tuple[str, int]
    width: int
    last_width: int
    dropped: tuple[str, ...] = ()
    added: int = 0
    """Channels of two 3×3 convolutions behind the body, whose output has as many; 0: none."""
    norm: bool = False


PLACES = {
    "vgg16_gap": _Places(("body.features.23", 512), ("body.features.29", 512), 512, 512, ("conv6", "relu6"), 512),
    "resnet50": _Places(("body.layer3.0", 1024), ("body.layer3.5", 1024), 1024, 512),
    "inception_v3_gap": _Places(("body.pool5", 288), ("body.Mixed_6e", 768), 512, 512),
    "slim_vgg_gap": _Places(("body.pool3", 48), ("body.conv4_2", 96), 64, 64, norm=True),
    "slim_resnet": _Places(("body.layer3.first", 64), ("body.layer3", 64), 64, 64, norm=True),
    "slim_inception": _Places(("body.pool3", 64), ("body.mixed6b", 128), 64, 64, norm=True),
}


@register_wsol("spg", title="SPG", source="Zhang et al., ECCV 2018; as in Choe et al., CVPR 2020")
class Spg(WsolMethod):
    """Auxiliary maps of one channel learn from one another what is object and what is background.

    B1 and B2 (3×3 convolution, ReLU, then shared: 3×3 convolution, ReLU, 1×1) read two middle layers, C (3×3, ReLU,
    1×1) the last one; all are resized to 224×224 (bilinear). Loss: CE + BCE(B2 ← the label's map, min-max
    normalised) + BCE(B1 ← sigmoid(B2)) + BCE(C ← mean of sigmoid(B1), sigmoid(B2)). Of a target, pixels above the high
    threshold are 1, below the low one 0, the rest do not count; where fewer than 30 pixels of an image are above it,
    the high threshold becomes 0.7·max. Targets have no gradient. Nothing but the classifier runs at test time.
    """

    cam: ClassVar[str] = "spgmap"
    search: ClassVar[Mapping[str, Range]] = {
        f"{end}_{n}": (0.0, 1.0 if end == "high" else f"high_{n}") for n in (1, 2, 3) for end in ("high", "low")
    }
    new_layers: ClassVar[tuple[str, ...]] = ("branches.", "body.spg_")
    high_1: float = Field(default=0.7, ge=0, le=1)
    low_1: float = Field(default=0.01, ge=0, le=1)
    high_2: float = Field(default=0.5, ge=0, le=1)
    low_2: float = Field(default=0.05, ge=0, le=1)
    high_3: float = Field(default=0.7, ge=0, le=1)
    low_3: float = Field(default=0.1, ge=0, le=1)

    def refuses(self, network: Backbone) -> str | None:
        """A reason unless the table knows the network's middle layers."""
        if network.head_kind == "gap_linear" and base_name(network) in PLACES and body_of(network) is not None:
            return None
        return f"spg cannot change {network.name}: it knows the layers of {', '.join(PLACES)}, with GAP"

    def change_network(self, network: Backbone) -> None:
        """B1, B2 and C beside the body, under ``branches``; VGG-16 gets two more convolutions and another pool4."""
        super().change_network(network)
        body, places = body_of(network), PLACES[base_name(network)]
        assert body is not None
        if places.added:
            layers = [(name, layer) for name, layer in body.named_children() if name not in places.dropped]
            layers[0] = ("features", _pool4_by_three(layers[0][1]))
            two = [layer for _ in range(2) for layer in convolution_relu(places.added, places.added, False)]
            set_body(network, [*layers, ("spg_a", nn.Sequential(*two))])
            set_classifier(network, places.added)
        width, norm = places.width, places.norm
        network.branches = nn.ModuleDict(
            {
                "b1": nn.Sequential(*convolution_relu(places.first[1], width, norm)),
                "b2": nn.Sequential(*convolution_relu(places.second[1], width, norm)),
                "shared": one_channel(width, width, norm),
                "c": one_channel(classifier_of(network).in_features, places.last_width, norm),
            }
        )

    def loss(self, network: Backbone, images: Tensor, targets: Tensor) -> tuple[Terms, Tensor]:
        """The four losses, and the classifier's logits."""
        places = PLACES[base_name(network)]
        names = (places.first[0], places.second[0])
        with outputs(network, names) as found:
            features = network.features(images)
        logits = network.head("softmax")(features)
        branch = network.get_submodule
        b1, b2 = (
            _large(branch("branches.shared")(branch(f"branches.{name}")(found[layer])))
            for name, layer in zip(("b1", "b2"), names, strict=True)
        )
        c = _large(branch("branches.c")(features))
        attention = min_max_map(_large(class_map(network, features.detach(), targets)[:, None])[:, 0])
        first, second = b1.detach().sigmoid()[:, 0], b2.detach().sigmoid()[:, 0]
        terms = {
            "classifier": self.cross_entropy(logits, targets),
            "B2": guided(b2[:, 0], attention, self.high_1, self.low_1),
            "B1": guided(b1[:, 0], second, self.high_2, self.low_2),
            "C": guided(c[:, 0], (first + second) / 2, self.high_3, self.low_3),
        }
        return terms, logits


def targets_of(attention: Tensor, high: float, low: float) -> tuple[Tensor, Tensor]:
    """Targets (B,H,W), 1 or 0, of an attention map (B,H,W), and which of its pixels count (bool)."""
    above = attention > high
    few = above.sum((-2, -1), keepdim=True) < MIN_PIXELS
    above = torch.where(few, attention > SHARE_OF_MAX * attention.amax((-2, -1), keepdim=True), above)
    below = attention < low
    return (above & ~below).to(attention.dtype), above | below


def guided(logits: Tensor, attention: Tensor, high: float, low: float) -> Tensor:
    """Binary cross entropy of logits (B,H,W) with an attention map's targets: the mean over the pixels that count."""
    wide = logits if logits.dtype.itemsize > 4 else logits.float()
    wanted, counts = targets_of(attention.detach(), high, low)
    each = F.binary_cross_entropy_with_logits(wide, wanted.to(wide.dtype), reduction="none")
    return (each * counts).sum() / counts.sum()


def _large(maps: Tensor) -> Tensor:
    made: Tensor = _Large.apply(maps)
    return made


class _Large(torch.autograd.Function):
    """Maps (B,1,h,w) at the targets' size; torch's own gradient of the resize, cell by cell, is slow on the CPU."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        ctx.sides = maps.shape[-2:]
        return F.interpolate(maps, (SIDE, SIDE), mode="bilinear", align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (given,) = gradients
        rows, columns = (_weights(side, given) for side in ctx.sides)
        return rows.mT @ given @ columns


def _weights(side: int, like: Tensor) -> Tensor:
    """What each of ``side`` cells gives to each of the resized ones, (SIDE,side)."""
    cells = torch.eye(side, dtype=like.dtype, device=like.device)[None, None]
    return F.interpolate(cells, (SIDE, side), mode="bilinear", align_corners=False)[0, 0]


def _pool4_by_three(features: nn.Module) -> nn.Module:
    """VGG's layers with pool4 as a 3×3 window of stride 2; the 28×28 version has none."""
    layers = list(features.children())
    if isinstance(layers[23], nn.MaxPool2d):
        layers[23] = nn.MaxPool2d(3, 2, 1)
    return nn.Sequential(*layers)
