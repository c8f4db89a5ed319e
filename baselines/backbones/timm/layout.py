"""Where the feature map of a timm network is, how it lies in memory, and which of its modules made it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ....registry import RegistryError


class UnsupportedNetworkError(RegistryError):
    """A network whose head cannot be run from a feature map (B,N,P,Q); the message gives the reason."""


def unsupported(name: str, reason: str) -> UnsupportedNetworkError:
    """The error for network ``name``."""
    return UnsupportedNetworkError(f"{name} is not supported: {reason}")


@dataclass(frozen=True)
class TimmLayout:
    """How the output of ``forward_features`` maps to (B,N,P,Q).

    ``prefix`` counts class and register tokens; ``restore`` puts zeros in their place.
    """

    kind: Literal["nchw", "nhwc", "tokens"]
    prefix: int = 0

    def feature_map(self, raw: Tensor) -> Tensor:
        """(B,N,P,Q) of (B,N,P,Q), (B,P,Q,N) or (B,prefix+P·P,N)."""
        if self.kind == "nchw":
            return raw
        if self.kind == "nhwc":
            return raw.permute(0, 3, 1, 2)
        patches = raw[:, self.prefix :]
        side = math.isqrt(patches.shape[1])
        return patches.transpose(1, 2).reshape(len(raw), -1, side, side)

    def restore(self, features: Tensor) -> Tensor:
        """The inverse of ``feature_map``, with zeros for prefix tokens."""
        if self.kind == "nchw":
            return features
        if self.kind == "nhwc":
            return features.permute(0, 2, 3, 1)
        patches = features.flatten(2).transpose(1, 2)
        return nn.functional.pad(patches, (0, 0, self.prefix, 0))


def find_layout(model: nn.Module, raw: Tensor, name: str) -> TimmLayout:
    """Layout of the output ``raw`` of ``forward_features``; a prefix of all its tokens where no patch is among them.

    Raises:
        UnsupportedNetworkError: It is no map: of another rank, or tokens that form no square.
    """
    if raw.ndim == 4:
        stated = getattr(model, "output_fmt", None)
        stated = str(getattr(stated, "value", stated)).lower() if stated is not None else None
        channels = getattr(model, "num_features", None)
        last = raw.shape[1] == raw.shape[2] != raw.shape[3] == channels != raw.shape[1]
        return TimmLayout("nhwc" if stated == "nhwc" or (stated is None and last) else "nchw")
    if raw.ndim != 3:
        raise unsupported(name, f"forward_features returns a tensor of shape {tuple(raw.shape)}, not a feature map")
    prefix = getattr(model, "num_prefix_tokens", None)
    if prefix is None:
        # Networks that do not say so have a class token where one token more than a square comes out.
        prefix = int(math.isqrt(raw.shape[1]) ** 2 != raw.shape[1])
    count = raw.shape[1] - int(prefix)
    if count == 1:
        # PiT returns its class tokens and no patches; the map is what its last block attends to.
        return TimmLayout("tokens", raw.shape[1])
    if math.isqrt(count) ** 2 != count:
        raise unsupported(name, f"its {count} tokens form no square map")
    return TimmLayout("tokens", int(prefix))


@dataclass(frozen=True)
class Call:
    """One call of a submodule: its name, itself, what it was given and what it returned."""

    name: str
    module: nn.Module
    given: tuple[Any, ...]
    options: dict[str, Any]
    output: Any


@contextmanager
def calls(model: nn.Module) -> Iterator[list[Call]]:
    """Calls of all submodules inside the block, in the order in which they end."""
    seen: list[Call] = []
    handles = []
    for name, module in model.named_modules():
        if name:

            def note(m: nn.Module, given: Any, options: Any, out: Any, name: str = name) -> None:
                seen.append(Call(name, m, given, options, out))

            handles.append(module.register_forward_hook(note, with_kwargs=True))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def last_layer(seen: list[Call], raw: Tensor) -> tuple[str, bool]:
    """Name of the innermost of the last modules whose output is the feature map ``raw``, and whether it is a ReLU."""
    same = [c for c in seen if isinstance(c.output, Tensor) and c.output.shape == raw.shape]
    same = [c for c in same if not isinstance(c.module, nn.Identity | nn.Dropout) and torch.equal(c.output, raw)]
    last: Call | None = None
    while same:
        last = same[-1]
        same = [c for c in same if c.name.startswith(f"{last.name}.")]
    if last is None:
        return "forward_features", False
    # A later in-place addition would show as negative values: the recorded output is the tensor itself.
    return last.name, isinstance(last.module, nn.ReLU | nn.ReLU6) and bool((raw >= 0).all())


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors of the same values by two ways are the same up to float32's rounding."""
    return first.shape == second.shape and torch.allclose(first.float(), second.float(), rtol=1e-4, atol=1e-5)
