"""Backbones, each with its target layer and heads."""

from . import efficientnet_lite, inception, resnet, slim, vgg
from .checkpoint_layouts import layout_of
from .checkpoints import account_of
from .opening import features_digest, head_digest, open_backbone
from .plain import backbone_of, read_at
from .surgery import TorchvisionWeights
from .timm.families import timm_models
from .wrapped import wrap

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
