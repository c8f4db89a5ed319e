"""The state that a caller's torch is in, left outside: inference mode, autocast, another default precision, TF32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from operator import attrgetter
from typing import Any, Literal

import torch


@contextmanager
def usual_torch() -> Iterator[None]:
    """While entered, torch computes in float32 with gradients, whatever the caller's contexts and defaults say.

    Tensors that are made in inference mode have no gradient; autocast, ``torch.set_float32_matmul_precision`` and TF32,
    which torch gives to convolutions on NVIDIA's devices unasked, would round what is read.

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
        stack.enter_context(float32_by("ieee"))
        yield


_ROUNDED = ("cudnn.conv", "cudnn.rnn", "cuda.matmul", "mkldnn.conv", "mkldnn.matmul", "mkldnn.rnn")
"""Where torch can round the factors of products of float32."""


@contextmanager
def float32_by(precision: Literal["ieee", "tf32"]) -> Iterator[None]:
    """While entered, products of float32 are of float32, or on CUDA of factors that are rounded to TF32's 10 bits.

    torch before 2.9 has one switch for convolutions and one for matrix products, for all its devices.

    Examples:
        >>> torch.set_float32_matmul_precision("medium")
        >>> with float32_by("ieee"):
        ...     torch.backends.mkldnn.matmul.fp32_precision if hasattr(torch.backends.mkldnn, "matmul") else "ieee"
        'ieee'
        >>> torch.set_float32_matmul_precision("highest")
    """
    before = {name: switch.fp32_precision for name, switch in _switches().items()}
    try:
        convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        # Set by the new switches, which the old ones know nothing of.
        convolutions, products = before["cudnn.conv"] == "tf32", "highest"
    try:
        # Old and new ones must agree: to read an old one that does not is an error of torch.
        _round(precision == "tf32", "high" if precision == "tf32" else "highest")
        for name, switch in _switches().items():
            switch.fp32_precision = "ieee" if name.startswith("mkldnn") else precision
        yield
    finally:
        _round(convolutions, products)
        for name, switch in _switches().items():
            switch.fp32_precision = before[name]


def _round(convolutions: bool, products: str) -> None:
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.set_float32_matmul_precision(products)


def _switches() -> dict[str, Any]:
    """The switches by kind of product; torch before 2.9 has none."""
    names = _ROUNDED if hasattr(torch.backends.cudnn, "conv") else ()
    return {name: attrgetter(name)(torch.backends) for name in names}


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
