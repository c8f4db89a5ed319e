"""Contracts of the baselines room: heads, backbones, and their registries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..registry import Registry

Branch = Literal["softmax", "sigmoid", "semantic"]
"""``semantic``: the token-semantic head of TS-CAM, trained and read as a softmax."""
HeadKind = Literal["gap_linear", "tap_linear", "mlp", "other"]
POOLED_LINEAR: tuple[HeadKind, ...] = ("gap_linear", "tap_linear")
"""Heads that pool each channel to one number and have one linear layer: those that have class weights."""
Activation = Literal["softmax", "sigmoid"]
GREY = (0.299, 0.587, 0.114)
"""Luma of red, green and blue (ITU-R BT.601), by which a network of one channel reads colour pictures."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of each channel, in [0, 1]; written here as well, since importing timm takes as long as importing torch."""


class Head(nn.Module, ABC):
    """Everything after the target feature map: features (B,N,P,Q) -> logits (B,C)."""

    kind: HeadKind = "other"
    num_classes: int
    classifiers: tuple[str, ...] = ()
    """Names of the last layers (usually one) inside the head, whose first dimension is C; empty where unknown."""
    context_rows: int = 0
    """Leading rows of the features that are no part of the map (``context.py``); 0 unless the head reads tokens."""

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C), float, of features (B,N,P,Q)."""

    @abstractmethod
    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> Head:
        """The same architecture with new parameters: linear weights N(0, 0.01), biases 0 (SEMANTICS: paper's code)."""

    def class_weights(self, target: Tensor) -> Tensor | None:
        """Rows (B,N) of the linear layer for classes ``target`` (B,), or None unless the head is pooling + linear."""
        del target
        return None

    def pooled(self, features: Tensor) -> Tensor:
        """What class weights meet, (B,N): each channel of features (B,N,P,Q) pooled, by its mean or by TAP."""
        return features.mean((-2, -1))

    def class_maps(self, features: Tensor, target: Tensor) -> Tensor | None:
        """Maps (B,P,Q) whose average is the logit of classes ``target`` (B,); None unless the head makes such maps."""
        del features, target
        return None

    def condense(self, features: Tensor) -> Tensor:
        """What of the features decides the logits while only the classifiers are trained; ``forward`` takes it as well.

        The features themselves, unless the head begins with a frozen part.
        """
        return features

    def whole_network(self) -> nn.Module | None:
        """Normalised images (B,C,R,R) to this head's logits as one module of layers, where the network is no pair.

        None where the network's ``features`` and this head are that pair.
        """
        return None

    def first_linear(self) -> tuple[nn.Linear, nn.Module] | None:
        """The linear layer that reads the flattened, condensed features, and all that follows it, where it is so.

        With both, ``head(f) == rest(linear(head.condense(f).flatten(1)))``; None for every other head.
        """
        return None


@dataclass(frozen=True)
class HeadSpec:
    """How a branch's evidence is read: which parameters, which activation, and whether weights are clamped at zero."""

    name: str
    branch: Branch
    clamp: bool
    title: str
    source: str
    named: bool = False
    """A glob over heads leaves it out, except with the methods that run under no other."""

    @property
    def activation(self) -> Branch:
        """Activation that turns the branch's logits into scores."""
        return "sigmoid" if self.branch == "sigmoid" else "softmax"


class Backbone(nn.Module, ABC):
    """A frozen feature extractor with its classification branches.

    ``heads["softmax"]`` decides the class; ``heads["sigmoid"]``, where present, is its clone trained with Eq. 12.
    Images given to ``features`` are normalised with ``normalise`` (the network's own mean and std).

    Attributes:
        num_classes: Classes of both branches.
        head_kind: ``gap_linear``, ``tap_linear``, ``mlp`` or ``other``.
        nonnegative: The target features are the output of a ReLU-like activation (F >= 0).
        feature_layer: Name of the target layer, for records.
        needs_training: The softmax head has fresh parameters.
        weights_source: Where the parameters come from, in words.
        class_names: Names of the classes, where the network brings them.
        prefix_tokens: Tokens before the patch tokens in ``attention`` (class, distillation, registers).
        class_token: The first of them decides the class.
        stages: Names of layers whose outputs (B,N,h,w) are the feature maps of several resolutions, fine to coarse;
            empty where they follow from the body (``stages.py``).
        input_size: Side in pixels that ``features`` resizes images to; None where it takes any size.
        activation: How the network's own logits become scores: ``softmax`` over classes that exclude one another, or
            a ``sigmoid`` of each (binary and multi-label networks).
        multi_label: An image may have several of the classes; ``predicted`` is the one of the highest score.
        through_network: A pass of the head runs the network anew, as its head reads more than the feature map.
        only_eager: Why ``torch.compile`` can make no program of ``features``; empty where it can.
        reads: Digest of the user's functions by which the network is called and read; empty where there are none.
    """

    name: str = ""
    needs_training: bool = False
    weights_source: str = "untrained"
    num_classes: int
    head_kind: HeadKind = "other"
    nonnegative: bool = False
    feature_layer: str = ""
    class_names: tuple[str, ...] = ()
    prefix_tokens: int = 0
    class_token: bool = False
    stages: tuple[str, ...] = ()
    input_size: int | None = None
    activation: Activation = "softmax"
    multi_label: bool = False
    through_network: bool = False
    only_eager: str = ""
    reads: str = ""
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Iterable[float], std: Iterable[float]) -> None:
        super().__init__()
        self.heads = nn.ModuleDict()
        self.register_buffer("mean", torch.tensor(list(mean)).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(1, -1, 1, 1), persistent=False)

    @property
    def image_channels(self) -> int:
        """Channels C of the images that the network takes: 3 for colour, 1 for grey, any number of spectral bands."""
        return self.mean.shape[1]

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Target feature map (B,N,P,Q) of normalised images (B,3,R,R), behind the head's context rows if it has any."""

    def lacks(self, part: Literal["attention", "semantic", "layer_logits"]) -> str | None:
        """Why the network has no attention matrices, can take no token-semantic head, or reads no logits from its
        blocks' tokens (``layer_logits``); None where it does."""
        del part
        return "it has no global attention over patch tokens"

    def attention(self, images: Tensor) -> Tensor:
        """Attention (L,B,T,T) of every layer, mean of its heads, queries in rows; TypeError where ``lacks`` says why.

        T counts ``prefix_tokens`` and P·Q patches.
        """
        del images
        raise TypeError(f"{self.name} has no attention to read: {self.lacks('attention')}")

    def token_blocks(self, head: Head) -> list[nn.Module]:
        """The transformer blocks in the order in which they run under ``head``; TypeError without attention."""
        del head
        raise TypeError(f"{self.name} has no attention to read: {self.lacks('attention')}")

    def layer_logits(self, tokens: Tensor, head: Head) -> Tensor:
        """Logits (B,C) of a block's tokens (B,T,N), as if it were the last block's: final normalisation, ``head``.

        TypeError where ``lacks`` says why.
        """
        del tokens, head
        raise TypeError(f"{self.name} has no blocks of tokens to read: {self.lacks('layer_logits')}")

    def fresh_head(
        self, branch: Branch, generator: torch.Generator | None = None, num_classes: int | None = None
    ) -> Head:
        """An untrained head for a branch: a clone of the softmax head's architecture, unless the branch has its own.

        Raises:
            TypeError: The network can have no such branch; the message gives the reason.
        """
        if branch == "semantic":
            raise TypeError(f"{self.name} can take no token-semantic head: {self.lacks('semantic')}")
        return self.head("softmax").fresh(generator, num_classes)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalised images (x − mean) / std of pixels (B,C,R,R) in [0, 1]; the fidelity scores rely on this form.

        A network of one channel takes the luma of colour pixels (B,3,R,R).

        Raises:
            ValueError: Pixels of another number of channels.
        """
        if pixels.shape[1] != self.image_channels:
            pixels = self._grey(pixels)
        return (pixels - self.mean).div_(self.std)

    def _grey(self, pixels: Tensor) -> Tensor:
        if self.image_channels != 1 or pixels.shape[1] != 3:
            raise ValueError(
                f"{self.name} takes images of {self.image_channels} channels, got {pixels.shape[1]}; give arrays of "
                f"(H,W,{self.image_channels}) or tensors of ({self.image_channels},H,W) to cambench.explain"
            )
        weights = torch.tensor(GREY, dtype=pixels.dtype, device=pixels.device).view(1, 3, 1, 1)
        return (pixels * weights).sum(1, keepdim=True)

    def at_own_size(self, images: Tensor) -> Tensor:
        """Images (B,C,R,R) resized to ``input_size`` (bilinear, antialiased); as they are where they have it."""
        return resized(images, self.input_size)

    def scores(self, logits: Tensor, branch: Branch = "softmax") -> Tensor:
        """Scores (B,C), float64, of a branch's logits: probabilities over the classes, or one of each class."""
        sigmoid = branch == "sigmoid" or (branch == "softmax" and self.activation == "sigmoid")
        return logits.double().sigmoid() if sigmoid else logits.double().softmax(1)

    def head(self, branch: Branch = "softmax") -> Head:
        """The branch's head; raises KeyError where the branch was not trained or loaded."""
        found = self.heads[branch]
        assert isinstance(found, Head)
        return found

    def forward(self, images: Tensor) -> Tensor:
        """Softmax-branch logits (B,C) of normalised images."""
        logits: Tensor = self.head("softmax")(self.features(images))
        return logits

    def freeze(self) -> Backbone:
        """Evaluation mode, no parameter requires a gradient. Returns itself."""
        self.eval()
        return self.requires_grad_(False)


def resized(images: Tensor, size: int | None) -> Tensor:
    """Images (B,C,H,W) at size×size (bilinear, antialiased); as they are where they have it, or ``size`` is None."""
    if size is None or images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)


def min_max_map(maps: Tensor) -> Tensor:
    """Maps (…,h,w), each min-max normalised; zero where a map is constant."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1)


@dataclass(frozen=True)
class BackboneSpec:
    """A registered backbone: ``build(num_classes)`` makes the network; ``weights`` says where its own ones come from.

    ``num_classes=None`` asks for the network's native classes.
    """

    name: str
    build: Callable[[int | None], Backbone]
    title: str
    source: str
    native_classes: int | None = None
    weights: str = ""
    """File in ``baselines/weights`` shipped for it, or empty."""
    pretrained: Callable[[Backbone], str] | None = None
    """Fills a native network with weights that another package carries; returns where they come from, in words."""
    in_our_names: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] | None = None
    """A file's tensors and the network's own -> the file's by our names, where another package calls them otherwise."""


HEADS: Registry[HeadSpec] = Registry("head", "cambench.heads", ("cambench.baselines.heads.heads",))
BACKBONES: Registry[BackboneSpec] = Registry("backbone", "cambench.backbones", ("cambench.baselines.backbones",))


def register_head(spec: HeadSpec) -> HeadSpec:
    """Register a head under ``spec.name``; RegistryError if the name is taken."""
    return HEADS.add(spec.name, spec)


def register_backbone(
    name: str,
    *,
    title: str | None = None,
    source: str = "",
    native_classes: int | None = None,
    weights: str = "",
    pretrained: Callable[[Backbone], str] | None = None,
    in_our_names: Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], dict[str, Tensor]] | None = None,
) -> Callable[[Callable[[int | None], Backbone]], Callable[[int | None], Backbone]]:
    """Decorator: register ``build(num_classes) -> Backbone`` under ``name``; RegistryError if the name is taken."""

    def decorate(build: Callable[[int | None], Backbone]) -> Callable[[int | None], Backbone]:
        spec = BackboneSpec(name, build, title or name, source, native_classes, weights, pretrained, in_our_names)
        BACKBONES.add(name, spec, origin=build.__module__)
        return build

    return decorate
