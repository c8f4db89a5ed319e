"""Registers the built-in data sets when imported."""

from . import synthbirds, wsol

__all__ = ["synthbirds", "wsol"]
