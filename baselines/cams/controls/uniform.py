"""Uniform control."""

from torch import Tensor

from ...contracts import register_cam
from ..evidence import Evidence


@register_cam("uniform", title="Uniform", source="control: the whole image", needs=(), returns="mask", headless=True)
def uniform(e: Evidence) -> Tensor:
    """Ones; (B,P,Q)."""
    return e.features.new_ones(len(e.features), *e.features.shape[-2:])
