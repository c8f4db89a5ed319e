"""Precisions in which a network can be run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "tf32", "bfloat16", "float16"]
"""In what a network is computed: float32, float32 whose products are of rounded factors, or an autocast dtype."""
Compile = Literal["no", "kernels", "graphs"]
"""Whether ``torch.compile`` makes programs of a network's forward: not, fused kernels, or these in CUDA graphs."""


def float32_kind(dtype: Dtype) -> Literal["ieee", "tf32"]:
    """What ``torch_state.float32_by`` is entered with."""
    return "tf32" if dtype == "tf32" else "ieee"


def computes(device: torch.device, dtype: Dtype) -> bool:
    """Whether a device computes in a precision itself.

    TF32 is of CUDA devices from Ampere on; those before only emulate bfloat16, slowly.
    """
    if device.type != "cuda":
        return dtype != "tf32"
    if dtype not in ("tf32", "bfloat16"):
        return True
    import torch

    return torch.cuda.get_device_capability(device) >= (8, 0)
