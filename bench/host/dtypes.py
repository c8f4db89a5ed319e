"""Precisions in which a network can be run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Dtype = Literal["float32", "bfloat16", "float16"]
"""Autocast dtype of a network; float32 is none."""
Compile = Literal["no", "kernels", "graphs"]
"""Whether ``torch.compile`` makes programs of a network's forward: not, fused kernels, or these in CUDA graphs."""


def computes(device: torch.device, dtype: Dtype) -> bool:
    """Whether a device computes in a precision itself; a CUDA device before Ampere only emulates bfloat16, slowly."""
    if device.type != "cuda" or dtype != "bfloat16":
        return True
    import torch

    return torch.cuda.get_device_capability(device) >= (8, 0)
