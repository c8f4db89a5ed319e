"""Weights among what else a file holds: containers of training code, arrays of NumPy, copies of averaged weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .file_names import State, some_names

_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "net", "state_dict_ema", "network", "weights")
"""Entries that hold the weights among others (epoch, optimiser), in the order in which they are looked for."""
_NOT_WEIGHTS = ("optim", "sched", "scaler", "loss", "criterion")


def weights_in(loaded: object, file: str) -> State:
    """The tensors by name in what a file holds; texts and empty entries among them are left out.

    Args:
        loaded: What ``torch.load`` made of the file. file: Its name, for messages.

    Raises:
        ValueError: There are none, or several sets of them; the message says what is there.
    """
    opened = _opened(loaded, file)
    if not isinstance(opened, Mapping):
        raise ValueError(f"holds a {type(opened).__name__}; expected a state_dict")
    if not opened:
        raise ValueError("it is empty; expected a state_dict")
    sets = [str(k) for k, v in opened.items() if _count(v)]
    if len(sets) > 1 and not any(map(_is_array, opened.values())):
        raise ValueError(f"it holds {len(sets)} sets of weights: {some_names(sets)}; save the one that you mean alone")
    kept = {k: v for k, v in opened.items() if not isinstance(v, str | None)}
    strange = [str(k) for k, v in kept.items() if not isinstance(k, str) or not _is_array(v)]
    if strange or not kept:
        raise ValueError(f"these entries are no tensors: {some_names(strange or map(str, opened))}")
    return {k: _tensor(v) for k, v in kept.items()}


def _opened(loaded: object, file: str) -> object:
    """The weights in a container: under a known name, or the only entry of tensors that is no optimiser's."""
    while isinstance(loaded, Mapping) and not any(map(_is_array, loaded.values())):
        sizes = {str(k): _count(v) for k, v in loaded.items() if _count(v)}
        sets = [k for k in sizes if not any(word in k.casefold() for word in _NOT_WEIGHTS)]
        # A score or two of a callback are no second set of weights.
        sets = [k for k in sets if 2 * sizes[k] >= max(sizes[one] for one in sets)]
        known = next((k for k in _WRAPPERS if k in sizes), None)
        if known is None and len(sets) != 1:
            break
        chosen = known or sets[0]
        if others := [k for k in sets if k != chosen]:
            warnings.warn(
                f"weights {file}: {chosen} is read, and {some_names(others)} is not; save it alone to read it",
                UserWarning,
                stacklevel=5,
            )
        loaded = {str(k): v for k, v in loaded.items()}[chosen]
    return loaded


def _count(value: Any) -> int:
    """Tensors, or arrays, in a mapping and those inside it; 0 where it is none."""
    return sum(1 if _is_array(v) else _count(v) for v in value.values()) if isinstance(value, Mapping) else 0


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")


def _tensor(value: Tensor | np.ndarray[Any, Any]) -> Tensor:
    return value if isinstance(value, Tensor) else torch.from_numpy(value.astype(value.dtype.newbyteorder("="), "C"))
