"""Registers the built-in data sets when imported."""

from . import cars, cub, folder, imagenet, openimages, synthbirds, tiny_imagenet, webdataset, wsol

__all__ = ["cars", "cub", "folder", "imagenet", "openimages", "synthbirds", "tiny_imagenet", "webdataset", "wsol"]
