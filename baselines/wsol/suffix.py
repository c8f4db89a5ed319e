"""Networks with a method's suffix, ``vgg16_gap+adl``: what such a name means, and how the network is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...registry import UnknownNameError
from ..contracts import BACKBONES, Backbone, BackboneSpec
from .wsol_method import WSOL, WsolError, WsolMethod, make_method

PLAIN = "cam"
"""The method that changes nothing: its networks have no suffix."""


def split_name(name: str) -> tuple[str, str]:
    """The plain network's name and the method's, ``cam`` where the name has no suffix of a method."""
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


def spec_with(name: str, parameters: Mapping[str, Any] | None = None) -> BackboneSpec | None:
    """The network ``base+method`` with a method of those parameters (its defaults where None); None without a suffix.

    Raises:
        UnknownNameError: The base is a network, and there is no such method.
        WsolError: Parameters that are none of the method's.
    """
    base, plus, method = name.rpartition("+")
    if not plus or base not in BACKBONES:
        return None
    if method == PLAIN:
        raise UnknownNameError("backbone", name, [base])
    way, spec = make_method({"name": method, **(parameters or {})}), BACKBONES.get(base)

    def build(num_classes: int | None) -> Backbone:
        network = spec.build(num_classes)
        apply_method(network, way)
        return network

    def pretrained(network: Backbone) -> str:
        assert spec.pretrained is not None
        source = spec.pretrained(network)
        # ImageNet's weights were not trained with the method.
        network.needs_training = True
        return source

    return replace(
        spec,
        name=name,
        build=build,
        title=f"{spec.title} + {way.title}",
        source=f"{spec.source}; trained with {way.title} ({way.source})",
        weights="",
        pretrained=None if spec.pretrained is None else pretrained,
    )


class MethodSuffix:
    """Names that the registry of backbones does not hold and that a registered network and a method make up."""

    def names(self, pattern: str) -> list[str]:
        """``base+method`` of all bases and methods that a pattern selects; empty where it has no plus sign."""
        base, plus, method = pattern.rpartition("+")
        if not plus:
            return []
        methods = [m for m in WSOL.names(method) if m != PLAIN]
        return [f"{b}+{m}" for b in BACKBONES.names(base) for m in methods]

    def get(self, name: str) -> BackboneSpec | None:
        """The network of such a name; None where the name is not of that form."""
        return spec_with(name)


BACKBONES.derived = MethodSuffix()
