"""Networks with suffixes, ``vgg16_gap+adl`` or ``vgg16_gap+tap``: what such a name means, and how one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from ...registry import UnknownNameError
from ..contracts import BACKBONES, Backbone, BackboneSpec
from ..heads.heads import GapLinear
from ..heads.tap import THRESHOLD, TapLinear
from .wsol_method import WSOL, WsolError, WsolMethod, make_method

PLAIN = "cam"
"""The method that changes nothing: its networks have no suffix."""
TAP = "tap"
"""Suffix of networks with thresholded average pooling; it stands before a method's."""


def split_name(name: str) -> tuple[str, str]:
    """The network's name without the method's suffix, and the method, ``cam`` where the name has no such suffix."""
    base, plus, method = name.rpartition("+")
    return (base, method) if plus and method in WSOL else (name, PLAIN)


def apply_method(network: Backbone, method: WsolMethod) -> None:
    """Change ``network`` in place for training or for the trained weights, and give it the method's suffix.

    Raises:
        WsolError: The method cannot change the network; the message says which it can.
    """
    why = method.refuses(network)
    if why is not None:
        raise WsolError(why)
    method.change_network(network)
    if method.name != PLAIN:
        network.name = f"{network.name}+{method.name}"


def apply_tap(network: Backbone, threshold: float = THRESHOLD) -> None:
    """Put thresholded average pooling in the place of the global one of the softmax head, and give it the suffix.

    A network that has it keeps its name; the threshold counts. Other branches are dropped.

    Raises:
        WsolError: The network has no GAP + linear head on features above zero, or none of the names that have suffixes.
        ValueError: The threshold is out of range.
    """
    head = network.head("softmax")
    plain = network.name.removesuffix(f"+{TAP}")
    if type(head) not in (GapLinear, TapLinear) or not network.nonnegative or plain not in BACKBONES:
        raise WsolError(
            f"tap cannot change {network.name}: thresholded average pooling takes the place of the global one of a "
            "GAP + linear head of a registered network, such as vgg16_gap, resnet50, inception_v3_gap, slim_vgg_gap, "
            "slim_resnet or slim_inception"
        )
    assert isinstance(head, GapLinear)
    made = TapLinear(head.linear.in_features, head.num_classes, head.linear.bias is not None, threshold)
    made.linear = head.linear
    network.heads.clear()
    network.heads["softmax"] = made
    network.head_kind, network.name = made.kind, f"{plain}+{TAP}"


def spec_with(
    name: str, parameters: Mapping[str, Any] | None = None, threshold: float = THRESHOLD
) -> BackboneSpec | None:
    """The network of a name with suffixes, ``base+method``, ``base+tap`` or ``base+tap+method``; None without one.

    Args:
        name: The name.
        parameters: Of the method; its defaults where None.
        threshold: Of TAP.

    Raises:
        UnknownNameError: The base is a network, and there is no such method, or TAP stands behind it.
        WsolError: Parameters that are none of the method's.
    """
    base, plus, last = name.rpartition("+")
    if not plus or base not in BACKBONES:
        return None
    if last == PLAIN:
        raise UnknownNameError("backbone", name, [base])
    if last == TAP:
        plain, method = split_name(base)
        if method != PLAIN or plain.endswith(f"+{TAP}"):
            raise UnknownNameError("backbone", name, [base if method == PLAIN else f"{plain}+{TAP}+{method}"])
        source = "thresholded average pooling (Bae et al., Rethinking CAM, ECCV 2020)"
        return _changed(BACKBONES.get(base), name, "TAP", source, lambda network: apply_tap(network, threshold))
    way = make_method({"name": last, **(parameters or {})})
    spec = spec_with(base, threshold=threshold) or BACKBONES.get(base)
    source = f"trained with {way.title} ({way.source})"
    return _changed(spec, name, way.title, source, lambda network: apply_method(network, way))


def _changed(
    spec: BackboneSpec, name: str, title: str, source: str, change: Callable[[Backbone], None]
) -> BackboneSpec:
    """The network of ``spec``, changed as it is built; ImageNet's weights may fill it, and it is then to be trained."""

    def build(num_classes: int | None) -> Backbone:
        network = spec.build(num_classes)
        change(network)
        return network

    def pretrained(network: Backbone) -> str:
        assert spec.pretrained is not None
        found = spec.pretrained(network)
        network.needs_training = True
        return found

    return replace(
        spec,
        name=name,
        build=build,
        title=f"{spec.title} + {title}",
        source=f"{spec.source}; {source}",
        weights="",
        pretrained=None if spec.pretrained is None else pretrained,
    )


class Suffixes:
    """Names that the registry of backbones does not hold and that a registered network and suffixes make up."""

    def names(self, pattern: str) -> list[str]:
        """``base+suffix`` of all bases and suffixes that a pattern selects; empty where it has no plus sign."""
        base, plus, last = pattern.rpartition("+")
        if not plus:
            return []
        found = [m for m in WSOL.names(last) if m != PLAIN]
        bases = BACKBONES.names(base)
        plain = [b for b in bases if split_name(b)[1] == PLAIN and not b.endswith(f"+{TAP}")]
        tapped = [f"{b}+{TAP}" for b in plain if fnmatchcase(TAP, last)]
        return [f"{b}+{m}" for b in bases for m in found] + tapped

    def get(self, name: str) -> BackboneSpec | None:
        """The network of such a name; None where the name is not of that form."""
        return spec_with(name)


BACKBONES.derived = Suffixes()
