"""Backbones, each with its target layer and heads."""

from . import efficientnet_lite, slim

__all__ = ["efficientnet_lite", "slim"]
