"""synthbirds, the embedded benchmark, drawn on first use: registered when imported."""

from . import synthbirds

__all__ = ["synthbirds"]
