"""A plain network as a backbone: the split into features and head that its own forward agrees with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from ..contracts import Backbone
from .timm.layout import close, unsupported
from .timm.net import TimmBackbone
from .wrapped import PROBE_SIZE, WrappedNetwork

Split = tuple[nn.Module, nn.Module]
CLASS_TOKEN_ADVICE = (
    "take the same network from timm: model=timm.create_model('vit_base_patch16_224', pretrained=True), "
    "or by name, model='timm:vit_base_patch16_224'"
)


def backbone_of(
    model: nn.Module,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] = (),
) -> Backbone:
    """A frozen copy of a plain network as a backbone; a ``Backbone`` is returned as it is.

    A network of timm is split by its own ``forward_features`` and ``forward_head``. Of another, the split before its
    global pooling is found by trial (``features``/``classifier`` as VGG, DenseNet and EfficientNet of torchvision have
    them; children in their order as ResNet's), and taken only where the parts give the logits of the whole.

    Args:
        model: Images (B,3,R,R), normalised, to logits (B,C).
        mean: Of each channel, in [0, 1]; where None, what a timm network says of itself, else ImageNet's.
        std: As ``mean``.
        class_names: Names of the C classes, in the order of the logits.

    Raises:
        UnsupportedNetworkError: No split agrees with the network; the message says what to do instead.
    """
    if isinstance(model, Backbone):
        return model
    name = type(model).__name__
    if callable(getattr(model, "forward_features", None)) and callable(getattr(model, "forward_head", None)):
        given = [None if v is None else tuple(v) for v in (mean, std)]
        backbone = TimmBackbone(copy.deepcopy(model).cpu(), name, *given).freeze()
        backbone.class_names, backbone.weights_source = tuple(class_names), "given as a network"
        return backbone.to(_device(model))
    features, head = _agreeing_split(model, name)
    network = WrappedNetwork(
        name, features, head, mean or IMAGENET_DEFAULT_MEAN, std or IMAGENET_DEFAULT_STD, None, tuple(class_names), None
    )
    network.weights_source = "given as a network"
    return network


def _agreeing_split(model: nn.Module, name: str) -> Split:
    # A copy: in-place layers and the mode of the caller's network stay as they are.
    net = copy.deepcopy(model).eval().requires_grad_(False)
    like = next(net.parameters(), torch.empty(0))
    probe = torch.randn(1, 3, PROBE_SIZE, PROBE_SIZE, generator=torch.Generator().manual_seed(0)).to(like)
    advice = "name its parts: cambench.wrap(name=…, features=…, head=…, mean=…, std=…)"
    called: set[nn.Module] = set()
    hooks = [child.register_forward_hook(lambda module, *_: called.add(module)) for child in net.children()]
    with torch.no_grad():
        try:
            logits = net(probe.clone())
        except Exception as error:
            reason = f"it fails on images of shape {tuple(probe.shape)} ({type(error).__name__}: {error})"
            raise unsupported(name, f"{reason}; {advice}") from error
        for hook in hooks:
            hook.remove()
        if hasattr(net, "class_token"):
            raise unsupported(name, f"its class token stays inside the network; {CLASS_TOKEN_ADVICE}")
        for features, head in _splits(net, called):
            if isinstance(logits, Tensor) and _agrees(features, head, probe, logits):
                return features, head
    raise unsupported(name, f"no split into features and head gives the logits of its own forward; {advice}")


def _agrees(features: nn.Module, head: nn.Module, probe: Tensor, logits: Tensor) -> bool:
    try:
        made = features(probe.clone())
        return isinstance(made, Tensor) and made.ndim == 4 and made.shape[-1] > 1 and close(head(made), logits)
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError, AssertionError):
        # A candidate that the network was not built for.
        return False


def _splits(net: nn.Module, called: set[nn.Module]) -> Iterator[Split]:
    features, classifier = getattr(net, "features", None), getattr(net, "classifier", None)
    if isinstance(features, nn.Module) and isinstance(classifier, nn.Module):
        pool = getattr(net, "avgpool", None)
        pools: list[nn.Module] = [pool] if isinstance(pool, nn.Module) else []
        for body in (features, nn.Sequential(features, nn.ReLU())):
            for pooling in (*pools, nn.AdaptiveAvgPool2d(1)):
                yield body, nn.Sequential(pooling, nn.Flatten(), classifier)
                yield body, nn.Sequential(pooling, classifier)
        yield features, nn.Sequential(classifier, nn.Flatten())
    # Auxiliary classifiers stand among the children and are not called outside training.
    children = {name: child for name, child in net.named_children() if child in called}
    names = list(children)
    for at in (i for i, n in enumerate(names) if isinstance(children[n], nn.AdaptiveAvgPool2d)):
        body = nn.Sequential(*_own_transform(net), *(children[n] for n in names[:at]))
        yield body, nn.Sequential(children[names[at]], nn.Flatten(), *(children[n] for n in names[at + 1 :]))
    if names:
        body = nn.Sequential(*(children[n] for n in names[:-1]))
        yield body, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), children[names[-1]])


class _Transform(nn.Module):
    """The change of normalisation that GoogLeNet and Inception v3 of torchvision begin with; it has no parameters."""

    def __init__(self, transform: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._transform = transform

    def forward(self, images: Tensor) -> Tensor:
        return self._transform(images)


def _own_transform(net: nn.Module) -> list[nn.Module]:
    transform = getattr(net, "_transform_input", None)
    return [_Transform(transform)] if callable(transform) else []


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
