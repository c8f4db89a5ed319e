"""Rows of samples: built, checked, cached."""

from .cache import cache_root
from .headers import picture_sizes

__all__ = ["cache_root", "picture_sizes"]
