"""What a head reads besides the feature map, carried in leading rows of it, so that every head is a function of F.

The head of a class-token network needs the tokens that its last attention layer adds to, not only those it attends to.
They travel in front of the map: a network's ``features`` are (B,N,R+P,Q), the first R rows the context. ``Evidence``
takes the two apart, so that a method, its averages and its maps see the P×Q cells alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..contracts import Head


def rows_of(count: int, columns: int) -> int:
    """Rows R of a map of ``columns`` Q that ``count`` context tokens take."""
    return -(-count // columns)


def pack(context: Tensor, patches: Tensor, columns: int) -> Tensor:
    """(B,N,R+P,Q) of context tokens (B,c,N) and patch tokens (B,P·Q,N); R = ⌈c / Q⌉, the last row filled with zeros."""
    spare = -context.shape[1] % columns
    tokens = torch.cat((F.pad(context, (0, 0, 0, spare)), patches), 1)
    return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], -1, columns)


def unpack(features: Tensor, rows: int, count: int) -> tuple[Tensor, Tensor]:
    """Context tokens (B,count,N) and patch tokens (B,P·Q,N) of features (B,N,rows+P,Q)."""
    tokens = features.flatten(2).transpose(1, 2)
    return tokens[:, :count], tokens[:, rows * features.shape[-1] :]


class ContextHead(Head):
    """A head whose context is fixed: maps (B·k,N,P,Q) -> logits, k copies of each image consecutive.

    Features that bring their own context (B·k,N,R+P,Q) keep it.
    """

    def __init__(self, head: Head, context: Tensor, rows: int) -> None:
        super().__init__()
        self.head, self._context, self._rows = head, context, rows
        self.kind, self.num_classes, self.classifiers = head.kind, head.num_classes, ()

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B·k,C) of maps, with or without context."""
        logits: Tensor = self.head(self.whole(features))
        return logits

    def class_maps(self, features: Tensor, target: Tensor) -> Tensor | None:
        """The wrapped head's class maps (B,P,Q)."""
        return self.head.class_maps(self.whole(features), target)

    def whole(self, features: Tensor) -> Tensor:
        """Features with their context."""
        if features.shape[-2] != self._rows:
            return features
        copies = len(features) // len(self._context)
        context = self._context if copies == 1 else self._context.repeat_interleave(copies, 0)
        return torch.cat((context.to(features.dtype), features), 2)

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> Head:
        """A fresh head of the wrapped kind, without this context."""
        return self.head.fresh(generator, num_classes)
