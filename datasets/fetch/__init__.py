"""Downloads: resumed, verified, safely extracted."""

from .download import download

__all__ = ["download"]
