"""InceptionV3 of the paper's tables: torchvision's own, and the variant of Choe et al. with a 14×14 map.

Both take images normalised with ImageNet's mean and std, without torchvision's ``transform_input``, as the paper's
networks did (SEMANTICS §6); the ImageNet weights themselves were trained on (x - 0.5)/0.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import Backbone, register_backbone
from ..heads.heads import GapLinear, reset
from .split import SplitNetwork, chain
from .surgery import IMAGENET_CLASSES, TorchvisionWeights, children, convolution, he_initialise

STEM_A = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "maxpool1")
STEM_B = ("Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2")
MIXED_5 = ("Mixed_5b", "Mixed_5c", "Mixed_5d")
MIXED_6 = ("Mixed_6a", "Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e")
MIXED_7 = ("Mixed_7a", "Mixed_7b", "Mixed_7c")
DROPOUT = 0.5
_SOURCE = "InceptionV3 (Szegedy et al., 2016)"
_PRETRAINED = TorchvisionWeights("Inception_V3_Weights.IMAGENET1K_V1")


class GapDropoutLinear(GapLinear):
    """Global average pooling, dropout, one linear layer (torchvision's Inception); GAP + linear in evaluation."""

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of features (B,N,P,Q)."""
        pooled = F.dropout(features.mean((-2, -1)), DROPOUT, self.training)
        return F.linear(pooled.to(self.linear.weight.dtype), self.linear.weight, self.linear.bias)

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> GapDropoutLinear:
        """The same architecture with new parameters on the same device."""
        weight = self.linear.weight
        head = GapDropoutLinear(weight.shape[1], num_classes or self.num_classes)
        reset(head, generator)
        return head.to(weight.device, weight.dtype)


class Mixed6aStride1(nn.Module):
    """torchvision's Mixed_6a at stride 1 with padding 1 in all three branches, so that it keeps the size of its input.

    Args:
        mixed: The ``InceptionB`` block whose layers are taken over, under their names.
    """

    def __init__(self, mixed: nn.Module) -> None:
        super().__init__()
        for name, layer in mixed.named_children():
            self.add_module(name, layer)
        for name in ("branch3x3.conv", "branch3x3dbl_3.conv"):
            conv = convolution(self, name)
            conv.stride, conv.padding = (1, 1), (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B,768,H,W) of (B,288,H,W)."""
        layer = self.get_submodule
        double = layer("branch3x3dbl_3")(layer("branch3x3dbl_2")(layer("branch3x3dbl_1")(x)))
        return torch.cat([layer("branch3x3")(x), double, F.max_pool2d(x, kernel_size=3, stride=1, padding=1)], 1)


def padded_stem(net: nn.Module) -> None:
    """Padding 1 in the first convolution and the two pools, which round up: Mixed_5 at 28×28 for images of 224."""
    convolution(net, "Conv2d_1a_3x3.conv").padding = (1, 1)
    for name in ("maxpool1", "maxpool2"):
        setattr(net, name, nn.MaxPool2d(3, 2, padding=1, ceil_mode=True))


def mixed_6a_at_stride_1(net: nn.Module) -> None:
    """Replace Mixed_6a by its version of stride 1; parameters keep their names and shapes."""
    net.Mixed_6a = Mixed6aStride1(net.get_submodule("Mixed_6a"))


def conv_relu(inputs: int, outputs: int) -> nn.Sequential:
    """3×3 convolution with bias, ReLU; fresh parameters."""
    layer = nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU())
    he_initialise(layer)
    return layer


def _torchvision() -> nn.Module:
    from torchvision.models import Inception3

    net: nn.Module = Inception3(num_classes=1, aux_logits=False, transform_input=False, init_weights=True)
    return net


def _gap(name: str, num_classes: int | None, between: list[tuple[str, nn.Module]]) -> Backbone:
    net = _torchvision()
    padded_stem(net)
    mixed_6a_at_stride_1(net)
    # The dropout before the classifier is in front of the target map, as the published maps are made after it.
    tail: list[tuple[str, nn.Module]] = [
        ("dropout1", nn.Dropout(DROPOUT)),
        ("conv7_1", conv_relu(768, 1024)),
        ("dropout2", nn.Dropout(DROPOUT)),
        ("conv7_2", conv_relu(1024, 1024)),
        ("dropout3", nn.Dropout(DROPOUT)),
    ]
    first = children(net, (*STEM_A, *STEM_B, *MIXED_5))
    head = GapLinear(1024, num_classes or IMAGENET_CLASSES)
    he_initialise(head)
    return SplitNetwork(name, chain([*first, *between, *children(net, MIXED_6), *tail]), head, "body.dropout3")


@register_backbone(
    "inception_v3",
    title="InceptionV3",
    source=_SOURCE,
    native_classes=IMAGENET_CLASSES,
    pretrained=_PRETRAINED,
)
def inception_v3(num_classes: int | None) -> Backbone:
    """torchvision's network without auxiliary head; target: Mixed_7c, 2048×5×5 at 224; GAP + linear."""
    body = chain(children(_torchvision(), (*STEM_A, *STEM_B, *MIXED_5, *MIXED_6, *MIXED_7)))
    head = GapDropoutLinear(2048, num_classes or IMAGENET_CLASSES)
    he_initialise(head)
    return SplitNetwork("inception_v3", body, head, "body.Mixed_7c")


_GAP_SOURCE = _SOURCE + "; padded stem, Mixed_6a at stride 1, Mixed_7 dropped (Choe et al., 2020)"


@register_backbone(
    "inception_v3_gap",
    title="InceptionV3 (GAP)",
    source=_GAP_SOURCE,
    native_classes=IMAGENET_CLASSES,
    pretrained=_PRETRAINED,
)
def inception_v3_gap(num_classes: int | None) -> Backbone:
    """Mixed_6e at 768×14×14, two 3×3 convolutions to 1024 with dropout, linear; target: the last ReLU, 1024×14×14.

    The published 1×1 convolution before GAP and the linear layer after it give the same logits. The two
    convolutions and the classifier have no ImageNet weights: they are to be trained.
    """
    return _gap("inception_v3_gap", num_classes, [("pool5", nn.MaxPool2d(3, 2, ceil_mode=True))])


@register_backbone(
    "inception_v3_gap_28",
    title="InceptionV3 (GAP, 28×28)",
    source=_GAP_SOURCE + ", large feature map",
    native_classes=IMAGENET_CLASSES,
    pretrained=_PRETRAINED,
)
def inception_v3_gap_28(num_classes: int | None) -> Backbone:
    """``inception_v3_gap`` without the pool before Mixed_6a; target 1024×28×28."""
    return _gap("inception_v3_gap_28", num_classes, [])
