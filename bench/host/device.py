"""Where numbers are computed: a device by name, and its peak memory."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> str:
    """``auto`` is CUDA where there is one, else the CPU; another name is checked.

    Raises:
        UsageError: The device does not exist here, or cannot compute maps.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"device {name!r}: expected auto, cpu, cuda, cuda:N, mps, xpu or xpu:N") from None
    # An accelerator that a package adds to torch has the one name that is kept for that.
    if device.type in ("cpu", torch._C._get_privateuse1_backend_name()):
        return name
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError(f"device {name!r}: this machine has no Apple GPU that torch can use; give --device cpu")
        return name
    if device.type not in ("cuda", "xpu"):
        raise UsageError(f"device {name!r}: no map can be computed there; expected auto, cpu, cuda[:N], mps or xpu[:N]")
    count = _count(device.type)
    if (device.index or 0) >= count:
        raise UsageError(f"device {name!r}: this machine has {count} {device.type.upper()} device(s)")
    return name


def device_of_rank(name: str) -> str:
    """``cuda``, ``xpu``: the device of this process's number on its machine (``LOCAL_RANK``); others stay."""
    local = os.environ.get("LOCAL_RANK")
    if name not in ("cuda", "xpu") or local is None:
        return name
    return f"{name}:{int(local) % _count(name)}"


def several_devices(asked: str) -> tuple[str, list[int]]:
    """The kind and the numbers of the devices of ``--devices``: ``all``, ``0,1``, ``cuda:0,cuda:2`` or ``cpu,cpu``.

    Raises:
        UsageError: There are none, one is not here or is named twice, or they are of several kinds.
    """
    accelerator = next((kind for kind in ("cuda", "xpu") if _count(kind)), None)
    if asked == "all":
        if accelerator is None:
            raise UsageError("--devices all: no CUDA or XPU device here; --processes N shares the work on the CPU")
        return accelerator, list(range(_count(accelerator)))
    words = [word.strip() for word in asked.split(",")]
    names = [pick_device(f"{accelerator or 'cuda'}:{word}" if word.isdigit() else word) for word in words]
    kinds = {name.partition(":")[0] for name in names}
    if len(kinds) > 1:
        raise UsageError(f"--devices {asked}: expected devices of one kind, got {', '.join(sorted(kinds))}")
    kind = kinds.pop()
    if kind == "cpu":
        return kind, list(range(len(names)))
    numbers = [int(name.partition(":")[2] or 0) for name in names]
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--devices {asked}: a device is named twice, and each has one process")
    return kind, numbers


def _count(kind: str) -> int:
    import torch

    return torch.cuda.device_count() if kind == "cuda" else torch.xpu.device_count()


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory in MiB: allocated on a CUDA device, else resident in this process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        used = psutil.Process().memory_info()
        return float(getattr(used, "peak_wset", used.rss)) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
