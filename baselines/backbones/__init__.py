"""Backbones, each with its target layer and heads."""

from . import slim

__all__ = ["slim"]
