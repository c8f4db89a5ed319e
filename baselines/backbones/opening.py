"""Open a backbone by name with its weights: registered networks and any ``timm:`` network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...registry import UnknownNameError
from ...triple import TIMM
from .. import weights as weights_package
from ..contracts import BACKBONES, Backbone, BackboneSpec, Branch, Head
from ..heads.readings import make_binary
from ..heads.tap import THRESHOLD, TapLinear
from ..weights.file_names import State
from ..weights.weight_files import WeightsError, apply_state, load_metadata, load_state, network_in, weights_digest
from ..wsol import PLAIN, TAP, WsolError, spec_with, split_name
from .checkpoint_layouts import layout_of
from .checkpoints import open_checkpoint

_SOFTMAX = "heads.softmax."
_OTHERS: tuple[Branch, ...] = ("sigmoid", "semantic")


def open_backbone(
    name: str,
    num_classes: int | None = None,
    weights: Path | None = None,
    pretrained: bool = True,
    seed: int = 0,
    new_head: bool = False,
) -> Backbone:
    """A frozen network with its softmax branch, and its sigmoid branch where the weights hold one.

    Args:
        name: Registered name, or ``timm:`` and a timm model name.
        num_classes: Classes wanted; None for those of the weights. Where the network's own weights have others, the
            softmax head is fresh and ``needs_training`` is set; a file of others is refused unless ``new_head``.
        weights: File of weights, instead of the network's own.
        pretrained: Load the network's own weights: shipped ones, a package's, or timm's from its hub. Without them
            and without a file the parameters are random (``seed``) and ``needs_training`` is set.
        seed: Of every parameter that no weights fill.
        new_head: Take the body of a ``weights`` file of another class count and give it a fresh softmax head.

    Raises:
        UnknownNameError: No such network; the message lists the nearest names.
        UnsupportedNetworkError: A timm network that has no feature map between body and head.
        WeightsError: Weights that are missing, not plain tensors, of another network, or of another class count.
    """
    # Parameters that no file fills are the same in every run.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name.startswith(TIMM):
            backbone = _open_timm(name, weights, pretrained)
        else:
            backbone = _open_registered(_spec(name, weights), weights, pretrained)
    if backbone.num_classes == 1 and not backbone.needs_training:
        make_binary(backbone)
    if num_classes is not None and num_classes != backbone.num_classes:
        if weights is not None and not backbone.needs_training and not new_head:
            raise WeightsError(
                f"weights {weights}: this {name} has {backbone.num_classes} classes, {num_classes} are wanted: the "
                f"file is of another data set. Choose a file of {num_classes} classes, or train one from it with "
                f"`cambench train backbone --weights {weights.name}`"
            )
        head = backbone.head("softmax").fresh(torch.Generator().manual_seed(seed), num_classes)
        backbone.heads.clear()
        backbone.heads["softmax"] = head
        backbone.num_classes, backbone.needs_training = num_classes, True
        backbone.activation, backbone.multi_label = "softmax", False
    return backbone.freeze()


def features_digest(backbone: Backbone) -> str:
    """SHA-256 (hex) over the body's parameters and the input normalisation: what decides the features."""
    digest = hashlib.sha256()
    own = (backbone.input_size, backbone.activation, backbone.reads)
    if own != (None, "softmax", ""):
        digest.update(repr(own).encode())
    for constant in (backbone.mean, backbone.std):
        digest.update(repr([round(float(v), 9) for v in constant.flatten()]).encode())
    body = {k: v for k, v in backbone.state_dict().items() if not k.startswith("heads.")}
    digest.update(weights_digest(body).encode())
    return digest.hexdigest()


def head_digest(head: Head) -> str:
    """SHA-256 (hex) over a head's parameters, and what else decides its logits."""
    found = weights_digest(head.state_dict())
    return (
        hashlib.sha256(f"{found} tap {head.threshold}".encode()).hexdigest() if isinstance(head, TapLinear) else found
    )


def _spec(name: str, weights: Path | None) -> BackboneSpec:
    try:
        spec = BACKBONES.get(name)
        if weights is None:
            return spec
        return spec_with(name, *_trained_with(name, weights)) or spec
    except WsolError as error:
        raise WeightsError(str(error) if weights is None else f"weights {weights}: {error}") from None
    except UnknownNameError:
        import timm

        if timm.is_model(name.split(".")[0]):
            raise UnknownNameError("backbone", name, [f"{TIMM}{name}"]) from None
        raise


def _trained_with(name: str, weights: Path) -> tuple[dict[str, Any], float]:
    """The method's parameters and TAP's threshold that a file of ours was trained with.

    WeightsError where it is of another method or pooling.
    """
    record = json.loads(load_metadata(weights).get("record", "{}"))
    pooling = record.get("recipe", {}).get("pooling") or {}
    if "recipe" in record:
        base, wanted = split_name(name)
        plain, with_tap = base.removesuffix(f"+{TAP}"), pooling.get("kind") == TAP
        trained = record.get("method", PLAIN)
        found = PLAIN if trained == "cross_entropy" else trained
        right = plain + (f"+{TAP}" if with_tap else "") + ("" if found == PLAIN else f"+{found}")
        if right != name:
            was, asked = (m + (f" and {TAP}" if t else "") for m, t in ((found, with_tap), (wanted, base != plain)))
            raise WeightsError(f"weights {weights}: trained with {was}, not with {asked}: open them as {right}")
    return dict(record.get("method_parameters", {})), float(pooling.get("threshold", THRESHOLD))


def _open_registered(spec: BackboneSpec, weights: Path | None, pretrained: bool) -> Backbone:
    if weights is not None:
        if layout_of(spec.name) is not None:
            backbone = open_checkpoint(spec.name, weights, spec=spec)[0]
            method = split_name(spec.name)[1]
            if method != PLAIN and backbone.needs_training:
                raise WeightsError(
                    f"weights {weights}: hold no whole network that {method} trained; `cambench train keys "
                    f"{weights.name} --backbone {spec.name}` says which parameters are missing"
                )
            return backbone
        return _from_state(spec, load_state(weights), str(weights), f"file {weights.name}")
    if pretrained and spec.weights:
        shipped = files(weights_package).joinpath(spec.weights)
        if not shipped.is_file():
            raise WeightsError(
                f"{spec.name}: its weights {spec.weights} are not in this installation; "
                f"train them with `cambench train`, or give --weights FILE"
            )
        with as_file(shipped) as file:
            return _from_state(spec, load_state(file), spec.weights, f"shipped {spec.weights}")
    backbone = spec.build(None)
    if pretrained and spec.pretrained is not None:
        backbone.weights_source = spec.pretrained(backbone)
    elif backbone.weights_source == "untrained":
        backbone.needs_training = True
    return backbone


def _from_state(spec: BackboneSpec, state: State, file: str, source: str) -> Backbone:
    backbone = spec.build(None)
    if spec.in_our_names is not None:
        state = spec.in_our_names(state, backbone.state_dict())
    state = network_in(state, backbone.state_dict(), file)
    classes = _classes(state, backbone)
    if classes is not None and classes != backbone.num_classes:
        backbone = spec.build(classes)
    return _filled(backbone, state, file, source)


def _filled(backbone: Backbone, state: State, file: str, source: str) -> Backbone:
    for branch in _OTHERS:
        if any(k.startswith(f"heads.{branch}.") for k in state):
            try:
                backbone.heads[branch] = backbone.fresh_head(branch)
            except TypeError as error:
                raise WeightsError(f"weights {file}: {error}") from None
    apply_state(backbone, state, file)
    backbone.weights_source = source
    return backbone


def _classes(state: Mapping[str, Tensor], backbone: Backbone) -> int | None:
    """Classes of the softmax head in ``state``, as far as its last layer is there."""
    for layer in backbone.head("softmax").classifiers:
        weight = state.get(f"{_SOFTMAX}{layer}.weight")
        if weight is not None:
            return len(weight)
    return None


def _open_timm(name: str, weights: Path | None, pretrained: bool) -> Backbone:
    from .timm.families import refusal
    from .timm.layout import unsupported
    from .timm.net import TimmBackbone, create, create_from_state, lacks_classifier

    model_name = name.removeprefix(TIMM)
    if (why := refusal(model_name)) is not None:
        raise unsupported(name, f"{why[0]}; nearest: {TIMM}{why[1]}")
    if weights is None:
        backbone = TimmBackbone(create(model_name, pretrained=pretrained), name)
        backbone.weights_source = f"timm {model_name}, pretrained" if pretrained else "untrained"
        backbone.needs_training = not pretrained or lacks_classifier(model_name)
        return backbone
    state = load_state(weights)
    if not any(k.startswith(_SOFTMAX) for k in state):
        backbone = TimmBackbone(create_from_state(model_name, state, str(weights)), name)
        backbone.weights_source = f"file {weights.name}"
        return backbone
    # A file that cambench wrote: its keys are those of the split network.
    backbone = TimmBackbone(create(model_name, pretrained=False), name)
    classes = _classes(state, backbone)
    if classes is not None and classes != backbone.num_classes:
        backbone = TimmBackbone(create(model_name, pretrained=False, num_classes=classes), name)
    return _filled(backbone, state, str(weights), f"file {weights.name}")
