"""VGG-16 of the paper's tables: with its MLP head, and with conv6 and global average pooling."""

from __future__ import annotations

from torch import nn

from ..contracts import Backbone, register_backbone
from ..heads.heads import GapLinear, MlpHead
from .split import SplitNetwork, chain
from .surgery import IMAGENET_CLASSES, TorchvisionWeights, he_initialise

POOL4, POOL5 = 23, 30
"""Indices of the last two pools in torchvision's ``features``; 29 is the last ReLU."""
_SOURCE = "VGG-16 (Simonyan & Zisserman, 2015); Beyond Softmax, §4"
_LARGE = "; pool4 dropped too (Choe et al., 2020, large feature map)"
_PRETRAINED = TorchvisionWeights("VGG16_Weights.IMAGENET1K_V1")


def convolutions() -> nn.Sequential:
    """torchvision's ``features`` of VGG-16 (configuration D, no BatchNorm), fresh parameters."""
    from torchvision.models.vgg import cfgs, make_layers

    features: nn.Sequential = make_layers(cfgs["D"])
    he_initialise(features)
    return features


def without_pool5(features: nn.Sequential) -> nn.Sequential:
    """The layers up to the last ReLU: 14×14 at 224."""
    return features[:POOL5]


def without_pool4(features: nn.Sequential) -> nn.Sequential:
    """pool4 replaced by the identity, so that the layers keep torchvision's indices: 28×28 at 224."""
    features[POOL4] = nn.Identity()
    return features


def conv6() -> nn.Conv2d:
    """3×3 convolution 512→1024, fresh parameters."""
    layer = nn.Conv2d(512, 1024, 3, padding=1)
    he_initialise(layer)
    return layer


def _mlp(name: str, features: nn.Sequential, num_classes: int | None) -> Backbone:
    head = MlpHead(512, num_classes or IMAGENET_CLASSES, hidden=(4096, 4096), pool=7, dropout=0.5)
    he_initialise(head)
    return SplitNetwork(name, chain([("features", features)]), head, f"body.features.{POOL5 - 1}")


def _gap(name: str, features: nn.Sequential, num_classes: int | None) -> Backbone:
    body = chain([("features", features), ("conv6", conv6()), ("relu6", nn.ReLU())])
    head = GapLinear(1024, num_classes or IMAGENET_CLASSES)
    he_initialise(head)
    return SplitNetwork(name, body, head, "body.relu6")


@register_backbone("vgg16", title="VGG-16", source=_SOURCE, native_classes=IMAGENET_CLASSES, pretrained=_PRETRAINED)
def vgg16(num_classes: int | None) -> Backbone:
    """pool5 becomes adaptive average pooling to 7×7 before the MLP; target: the last convolution's ReLU, 512×14×14."""
    return _mlp("vgg16", without_pool5(convolutions()), num_classes)


@register_backbone(
    "vgg16_28", title="VGG-16 (28×28)", source=_SOURCE + _LARGE, native_classes=IMAGENET_CLASSES, pretrained=_PRETRAINED
)
def vgg16_28(num_classes: int | None) -> Backbone:
    """``vgg16`` without pool4; target 512×28×28."""
    return _mlp("vgg16_28", without_pool4(without_pool5(convolutions())), num_classes)


@register_backbone(
    "vgg16_gap", title="VGG-16 (GAP)", source=_SOURCE, native_classes=IMAGENET_CLASSES, pretrained=_PRETRAINED
)
def vgg16_gap(num_classes: int | None) -> Backbone:
    """pool5 dropped, conv6 3×3 512→1024, ReLU, GAP, linear; target: conv6's ReLU, 1024×14×14.

    conv6 and the classifier have no ImageNet weights: they are to be trained.
    """
    return _gap("vgg16_gap", without_pool5(convolutions()), num_classes)


@register_backbone(
    "vgg16_gap_28",
    title="VGG-16 (GAP, 28×28)",
    source=_SOURCE + _LARGE,
    native_classes=IMAGENET_CLASSES,
    pretrained=_PRETRAINED,
)
def vgg16_gap_28(num_classes: int | None) -> Backbone:
    """``vgg16_gap`` without pool4; target 1024×28×28."""
    return _gap("vgg16_gap_28", without_pool4(without_pool5(convolutions())), num_classes)
