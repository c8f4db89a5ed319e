"""Rows of samples: built, checked, cached."""

from .cache import cache_root

__all__ = ["cache_root"]
