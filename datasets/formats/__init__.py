"""File formats that several data sets share."""

from .network_classes import plain_name
from .wnids import imagenet_class_names

__all__ = ["imagenet_class_names", "plain_name"]
