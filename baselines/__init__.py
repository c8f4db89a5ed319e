"""What is compared: backbones, heads and CAM methods, each registered under a name."""

from .declared_cost import declared_cost

__all__ = ["declared_cost"]
