"""The head of a whole network: everything that it does with a layer's feature map, run by the network itself."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from ...contracts import Head, resized
from ...heads.context import pack, rows_of, unpack
from ...heads.heads import reset, with_outputs
from .outputs import first_tensor, with_first
from .tapped import CalledNetwork, ReadPoint, Shapes, skipped

CLASSIFIER = "classifier"


class RestOfNetwork(Head):
    """Feature maps to logits by a forward of the whole network, in which the layer gives the map.

    Where the rest of the network reads the map alone, the layers before it are skipped. Where it reads more (skip
    connections, a class token, the image), the images travel in front of the map as the head's context, and every
    pass of the head runs the network.

    The network itself is the backbone's: only the classifier is this head's own, and a fresh head has a new one.

    Args:
        called: The network.
        tap: Where it is read.
        image: Shape (C,S,S) of its images.
        shape: Shape (N,P,Q) of the feature map.
        num_classes: Classes C.
        classifier: Name of the layer whose output is the logits; None where it is unknown.
        skip: Layers that need not run, where the map alone decides; None where it does not.
    """

    def __init__(
        self,
        called: CalledNetwork,
        tap: ReadPoint,
        image: tuple[int, int, int],
        shape: tuple[int, int, int],
        num_classes: int,
        classifier: str | None,
        skip: Shapes | None,
    ) -> None:
        super().__init__()
        # In a list: the network is registered once, as the backbone's body.
        self._called, self._tap, self._skip = [called], tap, skip
        self._image, self._shape, self.num_classes, self._place = image, shape, num_classes, classifier
        self._count = -(-image[0] * image[1] * image[2] // shape[0])
        self.context_rows = 0 if skip is not None else rows_of(self._count, shape[2])
        if classifier is not None:
            self.classifier = called.net.get_submodule(classifier)
            self.classifiers = (CLASSIFIER,)

    @property
    def called(self) -> CalledNetwork:
        """The network."""
        return self._called[0]

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,R+P,Q), or of what ``condense`` kept of them."""
        if self._condensed(features):
            logits: Tensor = self.classifier(features.flatten(1))
            return logits
        with _Classifier(self, None):
            return self._run(features)

    def condense(self, features: Tensor) -> Tensor:
        """The classifier's input (B,D,1,1), where it is one vector an image."""
        if self._place is None or self._condensed(features):
            return features
        given: list[Any] = []
        with _Classifier(self, given):
            self._run(features)
        kept = given[-1]
        return kept[:, :, None, None] if isinstance(kept, Tensor) and kept.ndim == 2 else features

    def _condensed(self, features: Tensor) -> bool:
        return self._place is not None and features.shape[-2:] == (1, 1)

    def _run(self, features: Tensor) -> Tensor:
        called, tap = self.called, self._tap
        if self._skip is None:
            context, cells = unpack(features, self.context_rows, self._count)
            size = self._image[0] * self._image[1] * self._image[2]
            images = context.flatten(1)[:, :size].reshape(len(features), *self._image)
            columns = features.shape[-1]
            return called.replaced(images, cells.transpose(1, 2).reshape(len(cells), -1, self._shape[1], columns), tap)
        blank = features.new_zeros(()).expand(len(features), *self._image)
        with skipped(called.net, self._skip, features):
            return called.replaced(blank, features, tap)

    def whole_network(self) -> nn.Module:
        """The network with this head's classifier, from images to logits; parameters are shared."""
        shared: dict[int, Any] = {id(t): t for t in (*self.called.parameters(), *self.called.buffers())}
        called = copy.deepcopy(self.called, shared)
        if self._place is not None:
            parent, _, leaf = self._place.rpartition(".")
            setattr(called.net.get_submodule(parent), leaf, self.classifier)
        return _Sized(called, self._image[1])

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> RestOfNetwork:
        """The same network with a new classifier on the same device.

        Raises:
            TypeError: The network's classifier is unknown, or no linear layer or 1×1 convolution.
        """
        if self._place is None:
            raise TypeError("its last layer cannot be told from the rest of the network, so no other can stand in")
        called, self._called = self._called, []
        try:
            head = copy.deepcopy(self)
        finally:
            self._called = called
        head._called = list(called)
        head.num_classes = num_classes or self.num_classes
        head.classifier = with_outputs(self.classifier, head.num_classes)
        reset(head.classifier, generator)
        return head.requires_grad_(True)


def packed(images: Tensor, features: Tensor) -> Tensor:
    """Features (B,N,R+P,Q) of a map (B,N,P,Q) and, in front of it, the images (B,C,S,S) that it was made of."""
    channels = features.shape[1]
    flat = images.flatten(1)
    flat = nn.functional.pad(flat, (0, -flat.shape[1] % channels))
    return pack(flat.view(len(flat), -1, channels), features.flatten(2).transpose(1, 2), features.shape[-1])


class _Classifier:
    """While entered: the head's own classifier answers in the place of the network's; ``given`` takes its inputs."""

    def __init__(self, head: RestOfNetwork, given: list[Any] | None) -> None:
        self._head, self._given = head, given
        self._handle: Any = None

    def __enter__(self) -> None:
        head = self._head
        if head._place is not None:
            layer = head.called.net.get_submodule(head._place)
            if layer is not head.classifier or self._given is not None:
                self._handle = layer.register_forward_hook(self._answer)

    def _answer(self, layer: nn.Module, given: tuple[Any, ...], out: Any) -> Any:
        if self._given is not None:
            self._given.append(given[0])
        if layer is self._head.classifier:
            return out
        own = first_tensor(out)
        return out if own is None else with_first(out, self._head.classifier(given[0]))

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()


class _Sized(nn.Module):
    """A network on images of any size, resized to its own."""

    def __init__(self, net: nn.Module, size: int) -> None:
        super().__init__()
        self.net, self._size = net, size

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B,C) of normalised images (B,C,R,R)."""
        logits: Tensor = self.net(resized(images, self._size))
        return logits
