"""Tensors on their way between a device and the host, without stalling either."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

import torch
from torch import Tensor

K = TypeVar("K")
_ALIGNED = 8
"""Bytes to a multiple of which every tensor of a packed copy begins: the widest dtype's size."""


class HostCopies(Generic[K]):
    """Host copies of named tensors; begun at once, waited for in ``wait``.

    All tensors of a device travel packed as one: on CUDA by one asynchronous transfer to pinned memory, and ``wait``
    waits for that transfer alone; a plain ``.cpu()`` would wait for all work that is queued when it is called.

    Args:
        tensors: Named tensors of any shape and dtype, on one device; some may be on the CPU already.

    Examples:
        >>> import torch
        >>> HostCopies({"y": torch.tensor([0.5])}).wait()["y"]
        tensor([0.5000])
    """

    def __init__(self, tensors: Mapping[K, Tensor]) -> None:
        self._event: torch.cuda.Event | None = None
        self._copies = {name: tensor.detach() for name, tensor in tensors.items()}
        there = {name: tensor for name, tensor in self._copies.items() if tensor.device.type != "cpu"}
        devices = {tensor.device for tensor in there.values()}
        if len(devices) > 1:
            raise ValueError(f"HostCopies: expected tensors of one device, got {sorted(map(str, devices))}")
        if devices:
            self._copies |= self._begin(there, devices.pop())

    def wait(self) -> dict[K, Tensor]:
        """The copies, complete; on the CPU the tensors themselves."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies

    def _begin(self, tensors: Mapping[K, Tensor], device: torch.device) -> dict[K, Tensor]:
        fill = torch.zeros(_ALIGNED, dtype=torch.uint8, device=device)
        pieces: list[Tensor] = []
        places: list[int] = []
        end = 0
        for tensor in tensors.values():
            places.append(end)
            bytes_of = tensor.reshape(-1).contiguous().view(torch.uint8)
            pieces += [bytes_of, fill[: -bytes_of.numel() % _ALIGNED]]
            end += bytes_of.numel() + pieces[-1].numel()
        packed = torch.cat(pieces)
        if device.type == "cuda":
            host = torch.empty(end, dtype=torch.uint8, pin_memory=True).copy_(packed, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            host = packed.cpu()
        return {
            name: host[at : at + tensor.numel() * tensor.element_size()].view(tensor.dtype).view(tensor.shape)
            for at, (name, tensor) in zip(places, tensors.items(), strict=True)
        }


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor on a device, by a transfer that neither waits: on CUDA from pinned memory.

    Examples:
        >>> import torch
        >>> upload(torch.tensor([1]), torch.device("cpu"))
        tensor([1])
    """
    if device.type == "cuda" and not tensor.is_cuda:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
