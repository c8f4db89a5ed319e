"""Registers the built-in data sets when imported."""

from . import cars, cub, folder, imagenet, openimages, synthbirds, tiny_imagenet, webdataset, wsol
from .synthbirds import CLASS_NAMES as BIRDS

__all__ = [
    "BIRDS",
    "cars",
    "cub",
    "folder",
    "imagenet",
    "openimages",
    "synthbirds",
    "tiny_imagenet",
    "webdataset",
    "wsol",
]
