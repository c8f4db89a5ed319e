"""Small networks of the embedded benchmark: 224×224 images, target feature map 14×14, F ≥ 0, a few MB of weights.

They keep the shape of the paper's networks (VGG with its MLP and without, ResNet with an undilated stride-1 last
stage, Inception) at about a hundredth of the cost. ``build(num_classes)`` gives untrained parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..contracts import Backbone, register_backbone
from ..heads.heads import GapLinear, MlpHead
from .split import SplitNetwork, chain

NATIVE_CLASSES = 12
"""Species of synthbirds, on which the shipped weights were trained."""


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution (padded to keep the size), BatchNorm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _vgg_body() -> list[tuple[str, nn.Module]]:
    def pool() -> nn.Module:
        return nn.MaxPool2d(2)

    return [
        ("conv1", conv(3, 16, stride=2)),
        ("pool1", pool()),
        ("conv2", conv(16, 32)),
        ("pool2", pool()),
        ("conv3_1", conv(32, 48)),
        ("conv3_2", conv(48, 48)),
        ("pool3", pool()),
        ("conv4_1", conv(48, 96)),
        ("conv4_2", conv(96, 96)),
    ]


@register_backbone(
    "slim_vgg",
    title="Slim VGG",
    source="VGG (Simonyan & Zisserman, 2015) with its MLP head, small",
    native_classes=NATIVE_CLASSES,
    weights="slim_vgg.safetensors",
)
def slim_vgg(num_classes: int | None) -> Backbone:
    """VGG with an MLP head on the 3×3 pooled map; target: the last convolution's ReLU, 96×14×14.

    Finer pooling and the paper's dropout of 0.5 do not learn 12 classes from 2,400 images at this width.
    """
    head = MlpHead(96, num_classes or NATIVE_CLASSES, hidden=(96, 96), pool=3, dropout=0.2)
    return SplitNetwork("slim_vgg", chain(_vgg_body()), head, "body.conv4_2")


@register_backbone(
    "slim_vgg_gap",
    title="Slim VGG (GAP)",
    source="VGG-GAP (Zhou et al., 2016): pool5 dropped, conv6, GAP, linear; small",
    native_classes=NATIVE_CLASSES,
    weights="slim_vgg_gap.safetensors",
)
def slim_vgg_gap(num_classes: int | None) -> Backbone:
    """VGG with conv6, GAP and a linear layer; target: conv6's ReLU, 128×14×14."""
    body = [*_vgg_body(), ("conv6", conv(96, 128))]
    return SplitNetwork("slim_vgg_gap", chain(body), GapLinear(128, num_classes or NATIVE_CLASSES), "body.conv6")


class BasicBlock(nn.Module):
    """ResNet's basic block: relu(x' + conv(conv(x))), x' projected where shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv(inputs, outputs, stride=stride)
        self.second = nn.Sequential(nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs))
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        # A layer, not a function: DeepLIFT and guided back-propagation have rules for layers only.
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Features (B,outputs,H/stride,W/stride)."""
        out: Tensor = self.relu(self.shortcut(x) + self.second(self.first(x)))
        return out


@register_backbone(
    "slim_resnet",
    title="Slim ResNet",
    source="ResNet (He et al., 2016) with layer4 at stride 1, small",
    native_classes=NATIVE_CLASSES,
    weights="slim_resnet.safetensors",
)
def slim_resnet(num_classes: int | None) -> Backbone:
    """ResNet of basic blocks, layer4 at stride 1; target: layer4's ReLU, 96×14×14; GAP + linear."""
    body: list[tuple[str, nn.Module]] = [
        ("stem", conv(3, 16, stride=2)),
        ("pool", nn.MaxPool2d(3, 2, 1)),
        ("layer1", BasicBlock(16, 16, 1)),
        ("layer2", BasicBlock(16, 32, 2)),
        ("layer3", BasicBlock(32, 64, 2)),
        ("layer4", BasicBlock(64, 96, 1)),
    ]
    return SplitNetwork("slim_resnet", chain(body), GapLinear(96, num_classes or NATIVE_CLASSES), "body.layer4")


class Mixed(nn.Module):
    """Inception block: 1×1, 3×3, double 3×3 and average-pool branches, concatenated.

    Args:
        inputs: Channels in.
        widths: Channels of the 1×1, 3×3, double 3×3 and pool branch.
    """

    def __init__(self, inputs: int, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        one, three, double, pool = widths
        self.branches = nn.ModuleList(
            [
                conv(inputs, one, 1),
                nn.Sequential(conv(inputs, three // 2, 1), conv(three // 2, three)),
                nn.Sequential(conv(inputs, double // 2, 1), conv(double // 2, double), conv(double, double)),
                nn.Sequential(nn.AvgPool2d(3, 1, 1), conv(inputs, pool, 1)),
            ]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (B,sum(widths),H,W)."""
        return torch.cat([branch(x) for branch in self.branches], 1)


@register_backbone(
    "slim_inception",
    title="Slim Inception",
    source="InceptionV3 (Szegedy et al., 2016), Mixed_7 dropped, 3×3 convolution, GAP, linear; small",
    native_classes=NATIVE_CLASSES,
    weights="slim_inception.safetensors",
)
def slim_inception(num_classes: int | None) -> Backbone:
    """Inception blocks at 28×28 and 14×14 and a last 3×3 convolution; target: its ReLU, 96×14×14; GAP + linear."""
    body: list[tuple[str, nn.Module]] = [
        ("stem1", conv(3, 16, stride=2)),
        ("pool1", nn.MaxPool2d(3, 2, 1)),
        ("stem2", conv(16, 32)),
        ("pool2", nn.MaxPool2d(3, 2, 1)),
        ("mixed5", Mixed(32, (16, 24, 16, 8))),
        ("pool3", nn.MaxPool2d(3, 2, 1)),
        ("mixed6a", Mixed(64, (32, 48, 32, 16))),
        ("mixed6b", Mixed(128, (32, 48, 32, 16))),
        ("conv7", conv(128, 96)),
    ]
    return SplitNetwork("slim_inception", chain(body), GapLinear(96, num_classes or NATIVE_CLASSES), "body.conv7")
