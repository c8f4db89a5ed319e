"""Registers the built-in data sets when imported."""

from . import wsol

__all__ = ["wsol"]
