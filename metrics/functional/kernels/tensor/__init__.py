"""The box engine in batched tensor operations, for any device: exact, without a loop over maps or levels."""

from .level_curves import Truth, tensor_curves

__all__ = ["Truth", "tensor_curves"]
