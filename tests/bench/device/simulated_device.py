"""An accelerator simulated on the CPU: device ``sim``, which mixes with no other and counts what the host waits for.

A tensor on ``sim`` wraps a host tensor. Every operator runs on the host tensors, so its values are those of the CPU,
but as on a real accelerator an operator that meets tensors of two devices fails, and so does reading a tensor's memory.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Backend(_DummyBackendModule):
    """What torch asks of a device's module; autocast is accepted and changes nothing.

    A device once named stays for the whole process, so it is there only where it is asked for: ``DataParallel`` of
    another test would move its network to it.
    """

    entered = 0

    def is_available(self) -> bool:
        return self.entered > 0

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


_BACKEND = _Backend()
_setup_privateuseone_for_python_backend("sim", backend_module=_BACKEND)
SIM = torch.device("sim:0")
COPIES = ("aten::_to_copy", "aten::copy_")
WAITS: Counter[str] = Counter()
NARROW: set[str] = set()
"""Holds "float64" while the device is one without it."""
UPLOAD = "an upload that is waited for"
VALUE_READERS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal", "aten::is_nonzero", "tolist")


class OnDevice(Tensor):
    """A tensor that says it lies on ``sim``; ``host`` is where its values are."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> OnDevice:
        made = torch.Tensor._make_wrapper_subclass(
            cls, host.shape, strides=host.stride(), storage_offset=host.storage_offset(), dtype=host.dtype, device=SIM
        )
        made.host = host
        return made

    def __repr__(self) -> str:
        return f"OnDevice({self.host!r})"

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("a tensor on sim has no memory that NumPy could read")

    def tolist(self) -> Any:
        WAITS["tolist"] += 1
        return self.host.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator on the host tensors; its result lies where a real device would put it."""
    name = func.name()
    tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
    ours = [t for t in tensors if isinstance(t, OnDevice)]
    place_ours = bool(ours)
    if kwargs.get("device") is not None:
        place_ours = torch.device(kwargs["device"]).type == "sim"
        kwargs = {**kwargs, "device": torch.device("cpu")}
    elif name == "aten::copy_":
        place_ours = isinstance(args[0], OnDevice)
    if ours and name not in COPIES:
        # A real device takes host tensors of no dimension as numbers, and host indices in an index.
        strangers = [t for t in tensors if not isinstance(t, OnDevice) and t.ndim > 0 and "index" not in name]
        if strangers:
            raise RuntimeError(f"{name}: tensors on sim and on {strangers[0].device}, {tuple(strangers[0].shape)}")
    if ours and (name in VALUE_READERS or (name in COPIES and not place_ours)):
        WAITS[name] += 1
    if tensors and not ours and place_ours and name == "aten::_to_copy" and not kwargs.get("non_blocking"):
        WAITS[UPLOAD] += 1
    out = func(*pytree.tree_map(_host, args), **pytree.tree_map(_host, kwargs))
    known = {id(t.host): t for t in ours}

    def place(x: Any) -> Any:
        if not isinstance(x, Tensor) or not place_ours:
            return x
        if x.dtype is torch.float64 and "float64" in NARROW:
            raise TypeError(f"{name}: sim has no float64")
        return known[id(x)] if id(x) in known else OnDevice(x)

    return pytree.tree_map(place, out)


def _host(x: Any) -> Any:
    return x.host if isinstance(x, OnDevice) else x


class Simulated(TorchDispatchMode):
    """While entered, tensors can be made on and moved to ``sim``."""

    def __enter__(self) -> Any:
        _BACKEND.entered += 1
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _BACKEND.entered -= 1

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


# ``torch.tensor(…, device="sim")`` makes and fills its tensor below the dispatch mode.
_LIBRARY = torch.library.Library("aten", "IMPL")


def _empty_strided(size: Any, stride: Any, *, dtype: Any = None, **_: Any) -> Tensor:
    return OnDevice(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    if not non_blocking:
        WAITS[UPLOAD] += 1
    _host(target).copy_(_host(source))
    return target


_LIBRARY.impl("empty_strided", _empty_strided, "PrivateUse1")
_LIBRARY.impl("_copy_from", _copy_from, "PrivateUse1")
_AUTOCAST = torch.library.Library("_", "IMPL", "AutocastPrivateUse1")
_AUTOCAST.fallback(torch.library.fallthrough_kernel)
