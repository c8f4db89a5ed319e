"""The state that a caller's torch is in, left outside: inference mode, autocast, another default precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def usual_torch() -> Iterator[None]:
    """While entered, torch computes in float32 with gradients, whatever the caller's contexts and defaults say.

    Tensors that are made in inference mode have no gradient, and autocast would round what is read.

    Examples:
        >>> with torch.inference_mode(), usual_torch():
        ...     torch.is_inference_mode_enabled()
        False
    """
    before = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        stack.callback(torch.set_default_dtype, before)
        torch.set_default_dtype(torch.float32)
        yield


@contextmanager
def spared(tensors: Mapping[str, torch.Tensor]) -> Iterator[list[str]]:
    """While entered, foreign code may see tensors that others read too; what it changes in place is changed back.

    Args:
        tensors: By the names that a message gives them.

    Yields:
        The names of those that were changed, complete after the context.

    Examples:
        >>> shared = torch.ones(2)
        >>> with spared({"features": shared}) as changed:
        ...     _ = shared.mul_(0)
        >>> changed, shared.tolist()
        (['features'], [1.0, 1.0])
    """
    changed: list[str] = []
    # Tensors of inference mode count no versions.
    held = {name: (t, t._version, t.clone()) for name, t in tensors.items() if not t.is_inference()}
    try:
        yield changed
    finally:
        for name, (tensor, version, copy) in held.items():
            if tensor._version != version:
                with torch.no_grad():
                    tensor.copy_(copy)
                changed.append(name)
