"""Registers the built-in data sets when imported."""

from . import cub, folder, openimages, tiny_imagenet, wsol
from .cars import cars
from .imagenet import imagenet
from .synthbirds import synthbirds

__all__ = ["cars", "cub", "folder", "imagenet", "openimages", "synthbirds", "tiny_imagenet", "wsol"]
