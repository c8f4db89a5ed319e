"""Backbones, each with its target layer and heads."""

from . import efficientnet_lite, inception, resnet, slim, vgg

__all__ = ["efficientnet_lite", "inception", "resnet", "slim", "vgg"]
