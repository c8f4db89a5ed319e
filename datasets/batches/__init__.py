"""Decoded batches of samples."""

from .geometry import centre
from .images import BILINEAR, UnreadableImageError, open_picture, to_rgb
from .loading import load_batches

__all__ = ["BILINEAR", "UnreadableImageError", "centre", "load_batches", "open_picture", "to_rgb"]
