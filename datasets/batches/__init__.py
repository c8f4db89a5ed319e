"""Decoded batches of samples."""

from .decoded_cache import DecodedCache, with_decoded_cache
from .decoding_rates import decoding_rates, fewest
from .geometry import centre
from .images import BILINEAR, UnreadableImageError, open_picture, to_rgb
from .loading import load_batches

__all__ = [
    "BILINEAR",
    "DecodedCache",
    "UnreadableImageError",
    "centre",
    "decoding_rates",
    "fewest",
    "load_batches",
    "open_picture",
    "to_rgb",
    "with_decoded_cache",
]
