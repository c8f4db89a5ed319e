"""Tensors on their way from a device to the host, without stalling it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class HostCopies:
    """Host copies of named tensors; begun at once, waited for in ``wait``.

    On CUDA every copy goes to pinned memory beside the device's further work, and ``wait`` waits for these copies
    alone: a plain ``.cpu()`` would wait for all work that is queued when it is called.

    Args:
        tensors: Named tensors of any shape and dtype, all on one device.

    Examples:
        >>> import torch
        >>> HostCopies({"y": torch.tensor([0.5])}).wait()["y"]
        tensor([0.5000])
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._event: torch.cuda.Event | None = None
        self._copies = {name: self._begin(tensor.detach()) for name, tensor in tensors.items()}
        if any(tensor.device.type == "cuda" for tensor in tensors.values()):
            self._event = torch.cuda.Event()
            self._event.record()

    def wait(self) -> dict[str, Tensor]:
        """The copies, complete; on the CPU the tensors themselves."""
        if self._event is not None:
            self._event.synchronize()
        return self._copies

    @staticmethod
    def _begin(tensor: Tensor) -> Tensor:
        if tensor.device.type != "cuda":
            return tensor.cpu()
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)
