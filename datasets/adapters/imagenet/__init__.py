"""ImageNet-1K: registered when imported."""

from . import imagenet

__all__ = ["imagenet"]
