"""What a network returns: the logits inside tuples, mappings and Hugging Face's outputs, and a layer's map likewise."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

_LOGITS = ("logits", "logits_per_image", "out")
"""Fields that hold logits: Hugging Face's, CLIP's, torchvision's segmentation."""


class NoLogitsError(TypeError):
    """An output in which no logits are found; the message says what is in it."""


def logits_in(out: Any) -> Tensor:
    """The logits of a network's output: the tensor itself, a field of that name, or the only tensor.

    Raises:
        NoLogitsError: There are several tensors and none is called logits, or there is none.
    """
    return _flat(_logits_in(out))


def _flat(logits: Tensor) -> Tensor:
    """Logits (B,C,1,1) of a convolution behind the pooling as (B,C)."""
    return logits.flatten(1) if logits.ndim > 2 and set(logits.shape[2:]) == {1} else logits


def _logits_in(out: Any) -> Tensor:
    if isinstance(out, Tensor):
        return out
    fields = fields_of(out)
    for name in _LOGITS:
        if isinstance(fields.get(name), Tensor):
            found: Tensor = fields[name]
            return found
    tensors = {k: v for k, v in fields.items() if isinstance(v, Tensor)}
    # A sequence without names starts with the network's own logits.
    if tensors and (len(tensors) == 1 or is_sequence(out)):
        return next(iter(tensors.values()))
    raise NoLogitsError(f"it returns {listed(out)}, and none is called logits")


def is_sequence(out: Any) -> bool:
    """Whether an output is a tuple or list whose parts have no names."""
    return isinstance(out, tuple | list) and not hasattr(out, "_fields")


def passed_over(out: Any, count: int) -> bool:
    """Whether a sequence of ``count`` images' outputs has more than one that could be logits (B,C)."""
    found = fields_of(out).values() if is_sequence(out) else ()
    return sum(isinstance(v, Tensor) and v.ndim == 2 and len(v) == count and v.is_floating_point() for v in found) > 1


def fields_of(out: Any) -> dict[str, Any]:
    """The parts of an output by name or place; empty where it is no container."""
    if isinstance(out, Mapping):
        return {str(k): v for k, v in out.items()}
    if dataclasses.is_dataclass(out) and not isinstance(out, type):
        return {f.name: getattr(out, f.name) for f in dataclasses.fields(out)}
    if isinstance(out, tuple | list):
        names = getattr(out, "_fields", range(len(out)))
        return {str(k): v for k, v in zip(names, out, strict=True)}
    held = {} if isinstance(out, Tensor | nn.Module | type) else getattr(out, "__dict__", {})
    return dict(held) if any(isinstance(v, Tensor) for v in held.values()) else {}


def first_tensor(out: Any) -> Tensor | None:
    """A layer's own tensor: the output itself, or the first tensor of it; None where there is none."""
    if isinstance(out, Tensor):
        return out
    return next((v for v in fields_of(out).values() if isinstance(v, Tensor)), None)


def with_first(out: Any, made: Tensor) -> Any:
    """A layer's output with another tensor in the place of ``first_tensor``."""
    old = first_tensor(out)
    if isinstance(out, Tensor):
        return made
    if isinstance(out, Mapping):
        # Hugging Face's outputs are made of their fields; a plain mapping is made of its items.
        items = {k: made if v is old else v for k, v in out.items()}
        own: Any = dataclasses.is_dataclass(out)
        kind: Any = type(out)
        return kind(**items) if own else kind(items)
    if dataclasses.is_dataclass(out) and not isinstance(out, type):
        return dataclasses.replace(out, **{k: made for k, v in fields_of(out).items() if v is old})
    if not isinstance(out, tuple | list):
        swap = copy.copy(out)
        swap.__dict__.update({k: made for k, v in fields_of(out).items() if v is old})
        return swap
    swapped = [made if v is old else v for v in out]
    return type(out)(*swapped) if hasattr(out, "_fields") else type(out)(swapped)


def listed(out: Any) -> str:
    """A container's tensors by name or place, with their shapes."""
    tensors = {k: v for k, v in fields_of(out).items() if isinstance(v, Tensor)}
    held = ", ".join(f"{k} {tuple(v.shape)}" for k, v in tensors.items()) or "no tensor"
    return f"a {type(out).__name__} with {held}"


def advice_on(out: Any) -> str:
    """What to say of an output whose logits are not found: where they may be, or that it is no classifier's."""
    if isinstance(out, tuple | list):
        if any(isinstance(v, Mapping) and "boxes" in v for v in out):
            return "it finds boxes: give score=…, a function of what it returns to one score an image and class (B,C)"
        if not is_sequence(out):
            return "say where they are: logits=lambda out: out.NAME"
        rows = [k for k, v in enumerate(out) if isinstance(v, Tensor) and v.ndim == 2]
        if rows:
            return f"say where they are: logits=lambda out: out[{rows[0]}]"
    return "say where they are: logits=lambda out: …"


def described(out: Any) -> str:
    """An output in a few words: its shape, or its type."""
    return str(tuple(out.shape)) if isinstance(out, torch.Tensor) else f"a {type(out).__name__}"
