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

from ....baselines.cams import CHUNK_BYTES, CamMethod, Evidence, apply_sign, clamps, raw_map
from ....baselines.contracts import Backbone, Branch, HeadSpec
from ....float64 import without_float64
from ....metrics.functional.fidelity import image_masks
from ....metrics.functional.host_copies import upload
from ....metrics.functional.maps import locate
from ....protocol import MapRule, Protocol
from ...host.dtypes import Compile, Dtype, computes
from ...maps.given_method import folder_of
from ...maps.map_folder import MapFolder
from .compiled import Forward

OVERFLOW = "float16 overflows in the network: the batches concerned were computed in float32"


class Reading:
    """One network, read under one protocol in one precision.

    Args:
        network: Frozen network, on the device where maps are computed, with every branch that is read.
        protocol: The choices that change a number; its ``score_channels`` reach every method.
        dtype: Autocast dtype of the network; ``tf32`` is the caller's to enter (``same_numbers``).
        channels_last: Memory layout of the network's input.
        compile: What ``torch.compile`` makes of the network's forward.
        chunk_bytes: Bytes of modified images that a re-scoring method puts through the network at a time.
        fill_chunks: The masked images of several maps go through the network together, a chunk at a time.

    Attributes:
        notes: What was computed otherwise than asked for -> forwards concerned.
    """

    def __init__(
        self,
        network: Backbone,
        protocol: Protocol,
        *,
        dtype: Dtype = "float32",
        channels_last: bool = False,
        compile: Compile = "no",
        chunk_bytes: int = CHUNK_BYTES,
        fill_chunks: bool = False,
    ) -> None:
        self.network, self.protocol, self.device = network, protocol, network.mean.device
        self._no_notes()
        self._missing = not computes(self.device, dtype)
        self.dtype = dtype
        plain = dtype in ("float32", "tf32") or self._missing
        self._autocast: torch.dtype | None = None if plain else getattr(torch, dtype)
        self._channels_last, self.chunk_bytes, self.fill_chunks = channels_last, chunk_bytes, fill_chunks
        self._forward = Forward(compile, self.device, self.notes)

    @property
    def name(self) -> str:
        """What the maps are of, in messages: the network."""
        return self.network.name

    @property
    def making_ms(self) -> float:
        """As of ``Forward``; 0 where nothing is compiled."""
        return self._forward.making_ms

    def _no_notes(self) -> None:
        self.notes: Counter[str] = Counter()

    def pixels(self, images: Tensor) -> Tensor:
        """Images uint8 (B,3,R,R) on the device, float32 in [0, 1]; what the device cannot do is noted."""
        if said := without_float64(self.device):
            self.notes[said] += 1
        return images.to(self.device, non_blocking=True).float() / 255

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
        if self._missing:
            self.notes[f"the device has no {self.dtype}: its batches were computed in float32"] += 1
        if self._autocast is None:
            return self._forward(self.network, images).float()
        with torch.autocast(self.device.type, dtype=self._autocast):
            features = self._forward(self.network, images).float()
        # bfloat16 has float32's range; float16 ends at 65,504.
        if self._autocast == torch.float16 and not features.isfinite().all():
            self.notes[OVERFLOW] += 1
            features = self._forward(self.network, images).float()
        return features

    @torch.no_grad()
    def see(self, images: Tensor, image_ids: Sequence[str], drawn: Tensor | None) -> Seen:
        """One plain forward of a batch.

        Args:
            images: uint8 (B,3,R,R).
            image_ids: One id an image; random methods draw their seeds from them.
            drawn: Classes (B,) int64 whose evidence is read; None for the predicted ones.
        """
        pixels = self.pixels(images)
        normalised = self.network.normalise(pixels)
        features = self.features(normalised)
        logits = self.network.head("softmax")(features).float()
        predicted = logits.argmax(1)
        target = predicted if drawn is None else upload(drawn, self.device)
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
    def feature_shape(self) -> tuple[int, int, int] | None:
        """Channels, rows and columns of the feature map, without the rows that a head takes as its context.

        None where no network stands behind the maps.
        """
        _, channels, rows, columns = self.features.shape
        return channels, rows - self.reading.network.head("softmax").context_rows, columns

    def under(self, target: Tensor) -> Seen:
        """The same forward, read for other classes (B,)."""
        return replace(self, target=target, _evidence={})

    def evidence(self, branch: Branch) -> Evidence:
        """Evidence of a branch for the target classes, shared by all methods that read it."""
        if branch not in self._evidence:
            reading = self.reading
            made = Evidence(
                *(self.features, reading.network.head(branch), self.target, self.image_ids),
                *(self.images, reading.network),
                forward=reading.features,
                score_channels=reading.protocol.score_channels,
            )
            made.chunk_bytes = reading.chunk_bytes
            self._evidence[branch] = made
        return self._evidence[branch]

    def keep(self, method: CamMethod, head: HeadSpec) -> None:
        """Compute a method's channel weights, which several heads of one branch share, until ``forget``."""
        self.evidence(head.branch).keep(method.fn)

    def forget(self, method: CamMethod, head: HeadSpec) -> None:
        """The end of ``keep``."""
        self.evidence(head.branch).forget(method.fn)

    def score_map(self, method: CamMethod, head: HeadSpec) -> ScoreMap:
        """The score map of a method under a head; raises what the method raises, and as ``raw_map``."""
        return score_map_of(method, self.evidence(head.branch), head, self.reading.protocol)


@dataclass(frozen=True)
class ScoreMap:
    """Score maps of a batch at the resolution of the feature map.

    Attributes:
        low: (B,P,Q) after the protocol's sign rule, as the method gave them: what records store.
        positive: (B,P,Q), negative values dropped whatever the sign rule says; zero where the map is not finite.
        exact: Doubles are stored as doubles (maps made elsewhere; what cambench draws is stored as float32).
        kept: Records may hold the maps.
    """

    low: Tensor
    positive: Tensor
    rule: MapRule
    size: int
    finished: bool
    exact: bool = False
    kept: bool = True

    @property
    def stored(self) -> Tensor | None:
        """(B,P,Q), what records hold of the maps: float32; as they are where they are to be ``exact``."""
        if not self.kept:
            return None
        return self.low if self.exact and self.low.dtype == torch.float64 else self.low.float()

    def locate(self) -> tuple[Tensor, Tensor, Tensor]:
        """Resized maps (B,R,R), the same min-max normalised, and flags (B,): see ``locate``."""
        return locate(self.low, self.rule, self.size, finished=self.finished)


def score_map_of(method: CamMethod, evidence: Evidence, head: HeadSpec, protocol: Protocol) -> ScoreMap:
    """The score map of a method from the evidence of the head's branch, under a protocol."""
    folder = folder_of(method)
    if folder is not None:
        return folder_score_map(method, folder, evidence.image_ids, evidence.features.device, protocol)
    raw = raw_map(method, evidence, clamp=clamps(method, head, protocol)).detach()
    return signed_score_map(method, raw, protocol)


def signed_score_map(method: CamMethod, raw: Tensor, protocol: Protocol) -> ScoreMap:
    """The score map of a method's raw maps (B,P,Q), before the sign rule, under a protocol."""
    rule = protocol.rule_for(method.name)
    finite = raw.float().isfinite().flatten(1).all(1)[:, None, None]
    positive = torch.where(finite, raw.clamp_min(0), raw.new_zeros(()))
    return ScoreMap(apply_sign(raw, method, rule), positive, rule, protocol.size, method.returns == "mask")


class SizedMaps(ScoreMap):
    """Score maps of several sizes, made elsewhere: each is resized by itself, and records do not hold them.

    ``positive`` is the mask (B,R,R) of the images, made under the protocol of every map by itself.
    """

    parts: Sequence[tuple[Tensor, ScoreMap]]

    @classmethod
    def of(cls, parts: Sequence[tuple[Tensor, ScoreMap]], protocol: Protocol) -> SizedMaps:
        """The maps of groups of one size each: places in the batch (G,) and their score map."""
        kernel, how = protocol.fidelity_kernel, protocol.fidelity_min_max
        masks = [image_masks(part.positive, protocol.size, kernel, how) for _, part in parts]
        places = [at for at, _ in parts]
        made = cls(masks[0], _in_place(places, masks), parts[0][1].rule, protocol.size, True)
        object.__setattr__(made, "parts", tuple(parts))
        return made

    @property
    def stored(self) -> Tensor | None:
        """None: maps of several sizes have no column."""
        return None

    def locate(self) -> tuple[Tensor, Tensor, Tensor]:
        """As ``ScoreMap.locate``."""
        places, found = [at for at, _ in self.parts], [part.locate() for _, part in self.parts]
        up, norm, flags = (_in_place(places, [triple[k] for triple in found]) for k in range(3))
        return up, norm, flags


def folder_score_map(
    method: CamMethod, folder: MapFolder, image_ids: Sequence[str], device: torch.device, protocol: Protocol
) -> ScoreMap:
    """The score map of images' maps in a folder, on a device, under a protocol."""
    maps = [upload(torch.from_numpy(m), device) for m in folder.read(image_ids)]
    return given_score_map(method, maps, folder.shape, protocol)


def given_score_map(
    method: CamMethod, maps: Sequence[Tensor], shape: tuple[int, int] | None, protocol: Protocol
) -> ScoreMap:
    """The score map of maps made elsewhere, one tensor (h,w) an image.

    Args:
        method: The method that stands for them.
        maps: Raw values.
        shape: Cells of every map of the split; None where they differ, whatever this batch's are.
        protocol: Its sign rule, kernels and normalisation.
    """
    if shape is not None:
        return replace(signed_score_map(method, _stacked(maps), protocol), exact=True)
    sizes: dict[tuple[int, ...], list[int]] = {}
    for place, values in enumerate(maps):
        sizes.setdefault((*values.shape, values.element_size()), []).append(place)
    parts = [
        (
            torch.tensor(at, device=maps[0].device),
            signed_score_map(method, torch.stack([maps[k] for k in at]), protocol),
        )
        for at in sizes.values()
    ]
    return SizedMaps.of(parts, protocol)


def _in_place(places: Sequence[Tensor], values: Sequence[Tensor]) -> Tensor:
    """Values of groups (G,…) in the order of the batch."""
    count = sum(len(at) for at in places)
    whole = values[0].new_empty((count, *values[0].shape[1:]))
    for at, part in zip(places, values, strict=True):
        whole[at] = part
    return whole


def _stacked(maps: Sequence[Tensor]) -> Tensor:
    """Maps of one size as (B,h,w): float64 where one of them is, which changes no value of the others."""
    wide = any(m.dtype == torch.float64 for m in maps)
    return torch.stack([m.double() if wide else m for m in maps])
