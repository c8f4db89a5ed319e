"""File formats that several data sets share."""

from .wnids import imagenet_class_names

__all__ = ["imagenet_class_names"]
