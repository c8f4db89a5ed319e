"""synthbirds, the embedded benchmark, drawn on first use: registered when imported."""

from . import synthbirds
from .species import CLASS_NAMES

__all__ = ["CLASS_NAMES", "synthbirds"]
