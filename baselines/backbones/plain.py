"""A plain network as a backbone: the split into features and head that its own forward agrees with."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor, nn

from ..base import Backbone
from .timm_layout import close, unsupported
from .timm_net import TimmBackbone
from .wrapped import PROBE_SIZE, WrappedNetwork

Split = tuple[nn.Module, nn.Module]


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
    with torch.no_grad():
        try:
            logits = net(probe.clone())
        except Exception as error:
            reason = f"it fails on images of shape {tuple(probe.shape)} ({type(error).__name__}: {error})"
            raise unsupported(name, f"{reason}; {advice}") from error
        for features, head in _splits(net):
            if isinstance(logits, Tensor) and _agrees(features, head, probe, logits):
                return features, head
    raise unsupported(name, f"no split into features and head gives the logits of its own forward; {advice}")


def _agrees(features: nn.Module, head: nn.Module, probe: Tensor, logits: Tensor) -> bool:
    try:
        made = features(probe.clone())
        return isinstance(made, Tensor) and made.ndim == 4 and made.shape[-1] > 1 and close(head(made), logits)
    except (RuntimeError, ValueError, TypeError, AttributeError, NotImplementedError):
        # A candidate that the network was not built for.
        return False


def _splits(net: nn.Module) -> Iterator[Split]:
    features, classifier = getattr(net, "features", None), getattr(net, "classifier", None)
    if isinstance(features, nn.Module) and isinstance(classifier, nn.Module):
        pool = getattr(net, "avgpool", None)
        pools: list[nn.Module] = [pool] if isinstance(pool, nn.Module) else []
        for body in (features, nn.Sequential(features, nn.ReLU())):
            for pooling in (*pools, nn.AdaptiveAvgPool2d(1)):
                yield body, nn.Sequential(pooling, nn.Flatten(), classifier)
                yield body, nn.Sequential(pooling, classifier)
        yield features, nn.Sequential(classifier, nn.Flatten())
    children = dict(net.named_children())
    names = list(children)
    for at in (i for i, n in enumerate(names) if isinstance(children[n], nn.AdaptiveAvgPool2d)):
        body = nn.Sequential(*(children[n] for n in names[:at]))
        yield body, nn.Sequential(children[names[at]], nn.Flatten(), *(children[n] for n in names[at + 1 :]))
    if names:
        body = nn.Sequential(*(children[n] for n in names[:-1]))
        yield body, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), children[names[-1]])


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
