"""How a network's maps are read: pixels → normalised → features → target → evidence → score map → located map.

Everything that draws or scores maps (a run, ``explain``, the figures, ``cambench time``) reads them through one
``Reading``, so that the same network, protocol and precision always give the same maps.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ...baselines.cams import CamMethod, Evidence, apply_sign, clamps, raw_map
from ...baselines.contracts import Backbone, Branch, HeadSpec
from ...metrics.functional.maps import locate
from ...protocol import MapRule, Protocol
from ..host.dtypes import Dtype

OVERFLOW = "float16 overflows in the network: the batches concerned were computed in float32"


class Reading:
    """One network, read under one protocol in one precision.

    Args:
        network: Frozen network, on the device where maps are computed, with every branch that is read.
        protocol: The choices that change a number; its ``score_channels`` reach every method.
        dtype: Autocast dtype of the network.
        channels_last: Memory layout of the network's input.

    Attributes:
        notes: What was computed otherwise than asked for -> forwards concerned.
    """

    def __init__(
        self, network: Backbone, protocol: Protocol, *, dtype: Dtype = "float32", channels_last: bool = False
    ) -> None:
        self.network, self.protocol, self.device = network, protocol, network.mean.device
        self.notes: Counter[str] = Counter()
        self._autocast: torch.dtype | None = None if dtype == "float32" else getattr(torch, dtype)
        self._channels_last = channels_last

    def of(self, network: Backbone) -> Reading:
        """Another network, read as this one is; its notes are this reading's."""
        other = copy.copy(self)
        other.network = network
        return other

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Target features (B,N,P,Q) float32 of normalised images (B,3,R,R), by one forward without autograd."""
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if self._autocast is None:
            return self.network.features(images).float()
        with torch.autocast(self.device.type, dtype=self._autocast):
            features = self.network.features(images).float()
        # bfloat16 has float32's range; float16 ends at 65,504.
        if self._autocast == torch.float16 and not features.isfinite().all():
            self.notes[OVERFLOW] += 1
            features = self.network.features(images).float()
        return features

    @torch.no_grad()
    def see(self, images: Tensor, image_ids: Sequence[str], drawn: Tensor | None) -> Seen:
        """One plain forward of a batch.

        Args:
            images: uint8 (B,3,R,R).
            image_ids: One id an image; random methods draw their seeds from them.
            drawn: Classes (B,) int64 whose evidence is read; None for the predicted ones.
        """
        pixels = images.to(self.device, non_blocking=True).float() / 255
        normalised = self.network.normalise(pixels)
        features = self.features(normalised)
        logits = self.network.head("softmax")(features).float()
        predicted = logits.argmax(1)
        target = predicted if drawn is None else drawn.to(self.device, non_blocking=True)
        return Seen(self, tuple(image_ids), pixels, normalised, features, logits, predicted, target)

    def drawn_class(self, labels: Tensor) -> Tensor | None:
        """What ``see`` takes as ``drawn`` under the protocol: the images' labels (B,), or None for the prediction."""
        return None if self.protocol.target == "predicted" else labels


@dataclass
class Seen:
    """A batch after its forward. All tensors are on the reading's device.

    Attributes:
        pixels: float32 (B,3,R,R) in [0, 1]. images: The same, normalised. features: (B,N,P,Q) float32.
        logits: (B,C) float32 of the softmax branch. predicted: Its argmax (B,). target: Classes (B,) that are drawn.
    """

    reading: Reading
    image_ids: tuple[str, ...]
    pixels: Tensor
    images: Tensor
    features: Tensor
    logits: Tensor
    predicted: Tensor
    target: Tensor
    _evidence: dict[Branch, Evidence] = field(default_factory=dict, repr=False)

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of the feature map, without the rows that a head takes as its context."""
        _, channels, rows, columns = self.features.shape
        return channels, rows - self.reading.network.head("softmax").context_rows, columns

    def under(self, target: Tensor) -> Seen:
        """The same forward, read for other classes (B,)."""
        return replace(self, target=target, _evidence={})

    def evidence(self, branch: Branch) -> Evidence:
        """Evidence of a branch for the target classes, shared by all methods that read it."""
        if branch not in self._evidence:
            reading = self.reading
            self._evidence[branch] = Evidence(
                *(self.features, reading.network.head(branch), self.target, self.image_ids),
                *(self.images, reading.network),
                forward=reading.features,
                score_channels=reading.protocol.score_channels,
            )
        return self._evidence[branch]

    def score_map(self, method: CamMethod, head: HeadSpec) -> ScoreMap:
        """The score map of a method under a head; raises what the method raises, and as ``raw_map``."""
        return score_map_of(method, self.evidence(head.branch), head, self.reading.protocol)


@dataclass(frozen=True)
class ScoreMap:
    """Score maps of a batch at the resolution of the feature map.

    Attributes:
        low: (B,P,Q) after the protocol's sign rule, as the method gave them: what records store.
        positive: (B,P,Q), negative values dropped whatever the sign rule says; zero where the map is not finite.
    """

    low: Tensor
    positive: Tensor
    rule: MapRule
    size: int
    finished: bool

    def locate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Resized maps (B,R,R), the same min-max normalised, and flags (B,): see ``locate``."""
        return locate(self.low, self.rule, self.size, finished=self.finished)


def score_map_of(method: CamMethod, evidence: Evidence, head: HeadSpec, protocol: Protocol) -> ScoreMap:
    """The score map of a method from the evidence of the head's branch, under a protocol."""
    raw = raw_map(method, evidence, clamp=clamps(method, head, protocol)).detach()
    rule = protocol.rule_for(method.name)
    finite = raw.float().isfinite().flatten(1).all(1)[:, None, None]
    positive = torch.where(finite, raw.clamp_min(0), raw.new_zeros(()))
    return ScoreMap(apply_sign(raw, method, rule), positive, rule, protocol.size, method.returns == "mask")
