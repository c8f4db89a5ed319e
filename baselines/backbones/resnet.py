"""ResNet-50 of the paper's tables: layer4 at stride 1, GAP + linear."""

from __future__ import annotations

from torch import nn

from ..contracts import Backbone, register_backbone
from ..heads.heads import GapLinear
from .split import SplitNetwork, chain
from .surgery import IMAGENET_CLASSES, TorchvisionWeights, children, convolution, he_initialise

_LAYERS = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
_SOURCE = "ResNet-50 (He et al., 2016); layer4 at stride 1, Beyond Softmax, §4"
_PRETRAINED = TorchvisionWeights("ResNet50_Weights.IMAGENET1K_V1")


def at_stride_1(stage: nn.Sequential) -> nn.Sequential:
    """A stage of bottlenecks that keeps the size of its input; no dilation is put in the stride's place."""
    for name in ("0.conv2", "0.downsample.0"):
        convolution(stage, name).stride = (1, 1)
    return stage


def split(name: str, num_classes: int | None, stride_1: tuple[str, ...]) -> Backbone:
    """torchvision's ResNet-50 as body and GAP + linear; the stages named in ``stride_1`` do not halve their input."""
    from torchvision import models

    net = models.resnet50(weights=None, num_classes=1)
    for stage in stride_1:
        at_stride_1(getattr(net, stage))
    head = GapLinear(2048, num_classes or IMAGENET_CLASSES)
    he_initialise(head)
    return SplitNetwork(name, chain(children(net, _LAYERS)), head, "body.layer4")


@register_backbone(
    "resnet50", title="ResNet-50", source=_SOURCE, native_classes=IMAGENET_CLASSES, pretrained=_PRETRAINED
)
def resnet50(num_classes: int | None) -> Backbone:
    """layer4 at stride 1; target: layer4's last ReLU, 2048×14×14; GAP + linear."""
    return split("resnet50", num_classes, stride_1=("layer4",))


@register_backbone(
    "resnet50_28",
    title="ResNet-50 (28×28)",
    source=_SOURCE + "; layer3 at stride 1 too (Choe et al., 2020, large feature map)",
    native_classes=IMAGENET_CLASSES,
    pretrained=_PRETRAINED,
)
def resnet50_28(num_classes: int | None) -> Backbone:
    """``resnet50`` with layer3 at stride 1 too; target 2048×28×28."""
    return split("resnet50_28", num_classes, stride_1=("layer3", "layer4"))
