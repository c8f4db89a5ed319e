"""Uniform control."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam


@register_cam("uniform", title="Uniform", source="control: the whole image", needs=(), returns="mask", headless=True)
def uniform(e: Evidence) -> Tensor:
    """Ones; (B,P,Q)."""
    return e.features.new_ones(len(e.features), *e.features.shape[-2:])
