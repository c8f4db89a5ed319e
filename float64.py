"""float64 beside a device that has none: the network and its maps stay there, what needs float64 goes to the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

LACKING = frozenset({"mps"})
"""Types of devices none of which has float64."""
NARROW = (torch.float32, torch.float16, torch.bfloat16)
AS_THEY_ARE = frozenset({"__get__", "__set__", "cpu", "numpy", "grad", "backward", "type_as"})
"""What reads a tensor's attribute, moves it itself, or follows a graph that lies on both."""


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64: Apple's GPUs do not, nor do some of Intel's.

    Examples:
        >>> has_float64(torch.device("cpu")), has_float64(torch.device("mps"))
        (True, False)
    """
    if device.type == "xpu" and torch.xpu.is_available():
        return bool(getattr(torch.xpu.get_device_properties(device), "has_fp64", True))
    return device.type not in LACKING


def without_float64(device: torch.device) -> str:
    """The sentence on a device that has no float64; nothing for another."""
    if has_float64(device):
        return ""
    return f"{device.type} has no float64: maps are resized, normalised, quantised and scored on the CPU, in float64"


def widest(device: torch.device) -> torch.dtype:
    """float64 where a device has it, else float32: for sums that are only reported."""
    return torch.float64 if has_float64(device) else torch.float32


@contextmanager
def float64_on_cpu(device: torch.device) -> Iterator[None]:
    """While entered, float64 that is asked for on a device without it is made on the CPU; else nothing changes."""
    if has_float64(device):
        yield
        return
    with _Float64OnCpu(device.type):
        yield


class _Float64OnCpu(TorchFunctionMode):
    """Puts float64 on the CPU, and what meets it; what meets a network's parameter goes to the parameter's device."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in AS_THEY_ARE:
            return func(*args, **kwargs)
        leaves = pytree.tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        there = [t for t in tensors if t.device.type == self._device]
        if not there and not any(self._names(leaf) for leaf in leaves):
            return func(*args, **kwargs)
        narrowed = name in ("float", "half", "bfloat16") or any(leaf in NARROW for leaf in leaves if _is_dtype(leaf))
        wide = not narrowed and (name == "double" or any(_is_wide(leaf) for leaf in leaves))
        mixed = name != "to" and there and any(t.ndim and t.device.type == "cpu" for t in tensors)
        if not (wide or mixed):
            return func(*args, **kwargs)
        home = self._home(name, args, there)
        args, kwargs = pytree.tree_map(lambda leaf: self._moved(leaf, home), (args, kwargs))
        return func(*args, **kwargs)

    def _home(self, name: str, args: Any, there: list[Tensor]) -> torch.device:
        """Where a call that needs float64, or tensors of both, is computed."""
        parameters = [t for t in there if isinstance(t, nn.Parameter)]
        into = name in ("__setitem__", "__getitem__") or (name.endswith("_") and not name.endswith("__"))
        if parameters and name not in ("double", "to"):
            return parameters[0].device
        if into and args[0].device.type == self._device:
            return torch.device(args[0].device)
        return torch.device("cpu")

    def _moved(self, leaf: Any, home: torch.device) -> Any:
        if isinstance(leaf, Tensor):
            if home.type == self._device and leaf.dtype is torch.float64:
                leaf = leaf.float()
            return leaf.to(home)
        return home if self._names(leaf) else leaf

    def _names(self, leaf: Any) -> bool:
        """Whether an argument names the device."""
        if isinstance(leaf, torch.device):
            return leaf.type == self._device
        return isinstance(leaf, str) and leaf.partition(":")[0] == self._device


def _is_dtype(leaf: Any) -> bool:
    return isinstance(leaf, torch.dtype)


def _is_wide(leaf: Any) -> bool:
    if isinstance(leaf, Tensor | np.ndarray):
        return leaf.dtype in (torch.float64, np.float64)
    return leaf is torch.float64
