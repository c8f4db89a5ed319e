"""Heads: everything after the target feature map."""

from .heads import GapLinear

__all__ = ["GapLinear"]
