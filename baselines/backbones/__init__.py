"""Backbones, each with its target layer and heads."""

from . import efficientnet_lite, inception, resnet, slim, vgg
from .checkpoint_layouts import layout_of
from .checkpoints import account_of
from .opening import features_digest, head_digest, open_backbone
from .own.plain import backbone_of, read_at
from .own.wrapped import wrap
from .surgery import TorchvisionWeights
from .timm.families import timm_models

__all__ = [
    "TorchvisionWeights",
    "account_of",
    "backbone_of",
    "efficientnet_lite",
    "features_digest",
    "head_digest",
    "inception",
    "layout_of",
    "open_backbone",
    "read_at",
    "resnet",
    "slim",
    "timm_models",
    "vgg",
    "wrap",
]
