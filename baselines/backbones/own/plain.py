"""A plain network as a backbone: the split into features and head that its own forward agrees with, or hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from ...contracts import Backbone
from ...heads.readings import make_binary
from ..timm.layout import UnsupportedNetworkError, close, unsupported
from ..timm.net import TimmBackbone
from .hooked import Reads
from .network_facts import PROBE_SIZE, NetworkFacts, facts_of, probe_images
from .own_copy import check_readable, own_copy, unwrapped
from .said import read_or_said
from .wrapped import WrappedNetwork, hooked

Split = tuple[nn.Module, nn.Module]


def backbone_of(
    model: nn.Module,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    class_names: Sequence[str] = (),
    layer: str | nn.Module | None = None,
) -> Backbone:
    """A frozen copy of a plain network as a backbone; a ``Backbone`` is returned as it is.

    A network of timm is split by its own ``forward_features`` and ``forward_head``. Of another, the split before its
    global pooling is found by trial (``features``/``classifier`` as VGG, DenseNet and EfficientNet of torchvision have
    them; children in their order as ResNet's), and taken only where the parts give the logits of the whole. All others,
    and any with a ``layer``, are read by hooks (``wrap``).

    Args:
        model: Images (B,C,R,R), normalised, to logits (B,C).
        mean: Of each channel, in [0, 1]; where None, what a timm network says of itself, else ImageNet's.
        std: As ``mean``.
        class_names: Names of the C classes, in the order of the logits.
        layer: The layer whose output is the feature map, or its name; where None, the last one before the pooling.

    Raises:
        UnsupportedNetworkError: The network cannot be read; the message says what to do instead.
    """
    if isinstance(model, Backbone):
        return model
    inner, name = unwrapped(model), type(unwrapped(model)).__name__
    with read_or_said(name):
        check_readable(inner, name)
        facts = facts_of(inner, name, mean=mean, std=std, class_names=class_names)
        network = None if layer is not None else _taken_apart(inner, facts)
        if network is None:
            said = {"mean": facts.mean, "std": facts.std, "class_names": facts.class_names}
            network = hooked(model, name, Reads(layer=layer), **said)
    network.weights_source = "given as a network"
    return network


def read_at(network: Backbone, layer: str | nn.Module) -> Backbone:
    """A backbone that is read at another of its layers; only its own head can be read there.

    Raises:
        UnsupportedNetworkError: There is no such layer, or it makes no map.
    """
    said = {"mean": network.mean.flatten().tolist(), "std": network.std.flatten().tolist()}
    facts = {"input_size": network.input_size, "class_names": network.class_names, "multi_label": network.multi_label}
    with read_or_said(network.name):
        made = hooked(network, network.name, Reads(layer=layer), **said, **facts)
    made.activation, made.weights_source = network.activation, network.weights_source
    made.needs_training = network.needs_training
    return made


def _taken_apart(model: nn.Module, facts: NetworkFacts) -> Backbone | None:
    """The network in two parts; None where it has no two parts that give its logits."""
    methods = (getattr(model, "forward_features", None), getattr(model, "forward_head", None))
    if all(map(callable, methods)) and (network := _of_timm(model, facts)) is not None:
        return network
    net = own_copy(model, facts.name)
    split = _agreeing_split(net, facts)
    return None if split is None else WrappedNetwork(*split, facts, None)


def _of_timm(model: nn.Module, facts: NetworkFacts) -> Backbone | None:
    if getattr(model, "num_classes", 1) == 0:
        raise unsupported(
            facts.name,
            "it has no classifier (num_classes=0): it makes features and no scores of classes; give it one with "
            "net.reset_classifier(classes) and train it, or create it with num_classes=…",
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        backbone = TimmBackbone(own_copy(model, facts.name).cpu(), facts.name, facts.mean, facts.std, facts.input_size)
    except UnsupportedNetworkError:
        # Networks of others have methods of these names too; hooks need none.
        return None
    backbone.class_names, backbone.multi_label = facts.class_names, facts.multi_label
    if backbone.num_classes == 1:
        make_binary(backbone)
    return backbone.freeze().to(device)


def _agreeing_split(net: nn.Module, facts: NetworkFacts) -> Split | None:
    size = facts.input_size or PROBE_SIZE
    like = next(net.parameters(), torch.empty(0))
    probe = probe_images(size, len(facts.mean), count=1).to(like)
    called: set[nn.Module] = set()
    hooks = [child.register_forward_hook(lambda module, *_: called.add(module)) for child in net.children()]
    with torch.no_grad():
        try:
            logits = net(probe.clone())
        except Exception:  # the network's own code: said where it is run by hooks
            return None
        finally:
            for hook in hooks:
                hook.remove()
        for features, head in _splits(net, called):
            if isinstance(logits, Tensor) and logits.is_floating_point() and _agrees(features, head, probe, logits):
                return features, head
    return None


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
