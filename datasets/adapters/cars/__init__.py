"""Stanford Cars: registered when imported."""

from . import cars

__all__ = ["cars"]
