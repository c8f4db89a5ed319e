"""Backbones, each with its target layer and heads."""

from . import efficientnet_lite, inception, resnet, slim, vgg
from .checkpoint_layouts import layout_of
from .checkpoints import account_of
from .opening import features_digest, head_digest, open_backbone
from .own.no_network import file_of_network, instead_of_network
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
    "file_of_network",
    "head_digest",
    "inception",
    "instead_of_network",
    "layout_of",
    "open_backbone",
    "read_at",
    "resnet",
    "slim",
    "timm_models",
    "vgg",
    "wrap",
]
