"""A network of the user's own, wrapped in one call: a whole network as it is, or its two parts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor, nn

from ....torch_state import usual_torch
from ...contracts import BACKBONES, Backbone, BackboneSpec, Head
from ...heads.heads import ModuleHead, gap_linear_of
from ...heads.readings import LogitOfProbability, LogitsOfSoftmax, make_binary
from ...probes.in_place import ADVICE, overwritten
from ..timm.layout import calls, close, last_layer, unsupported
from .classifier import are_probabilities, behind_softmax, check_classifier, is_classifier
from .function_parts import CopyingPart, Part, as_module, function_digest, module_of, modules_in, rebound
from .hooked import HookedNetwork, Reads, check_names
from .network_facts import PROBE_SIZE, NetworkFacts, facts_of, probe_images, trial_like
from .no_network import instead_of_network
from .own_copy import Copies, check_readable, not_finite, own_copies, swapped_for, tried, unwrapped
from .said import read_or_said


class WrapOptions(TypedDict, total=False):
    """Keywords of ``wrap``; each may be left out.

    Attributes:
        mean: Of each channel, in [0, 1]; images are normalised as (x − mean) / std. Left out: what a timm network says,
            else ImageNet's. As many values as the network's images have channels.
        std: As ``mean``.
        input_size: Side in pixels that the network needs; images of another size are resized to it (bilinear,
            antialiased). Left out: what a vision transformer says; any size otherwise.
        class_names: Names of the C classes, in the order of the logits; of a network of one logit, the name of its
            class, or those of its two readings.
        multi_label: The logits are independent (a sigmoid each): an image may have several of the classes. A network
            that ends in a sigmoid is known as such.
        layer: With ``model`` alone: the name of the layer whose output is the feature map, or the module itself. Left
            out: the last one before the pooling.
        logits: With ``model`` alone: what the network returns to logits (B,C). Left out: the tensor, a field
            ``logits`` or ``out``, or the first of a tuple.
        score: In the place of ``logits``, for detection and segmentation: what the network returns to one score an
            image and class (B,C), such as a class's logits averaged over a mask. It is explained as logits are.
        inputs: With ``model`` alone: images (B,C,R,R) to what the network is called with, where that is more: a tuple,
            or a mapping by name.
        prefix_tokens: With ``model`` alone: class and register tokens before the patch tokens of ``layer``. Left out:
            those that are more than a square.
    """

    mean: Sequence[float] | None
    std: Sequence[float] | None
    input_size: int | None
    class_names: Sequence[str]
    multi_label: bool
    layer: str | nn.Module | None
    logits: Callable[[Any], Tensor] | None
    score: Callable[[Any], Tensor] | None
    inputs: Callable[[Tensor], Any] | None
    prefix_tokens: int | None


_FACTS = ("mean", "std", "input_size", "class_names", "multi_label")


def wrap(
    *,
    name: str | None = None,
    model: nn.Module | None = None,
    features: Part | None = None,
    head: Part | None = None,
    **options: Unpack[WrapOptions],
) -> Backbone:
    """A frozen copy of a network as a backbone, registered under ``name`` for triples (``name/gradcam/softmax``).

    Call it before ``cambench.run``, or in a ``--plugin`` file, or hand the result to what takes a ``Backbone``::

        net = torchvision.models.resnet18(weights="DEFAULT")
        cambench.wrap(name="mine", model=net, layer="layer4")

    The network stays as it is: mode, gradients, dtype, device and hooks. It is read at the layer by hooks on the copy.
    GAP + linear is recognised by its logits, so CAM and the identities of such heads apply. Where the rest of the
    network reads more than the layer's map (skip connections, a class token), gradients go through all of it
    (``through_network``). Networks of one logit are read as two classes. ``features`` and ``head`` name two parts
    instead, where hooks are not enough. Wrapping again replaces the network.

    Args:
        name: Name in triples; left out: the name of the network's class.
        model: The whole network; or, where ``features`` or ``head`` is a plain function, the module that it uses.
        features: Normalised images (B,C,R,R) to the target feature map (B,N,P,Q): a module, a module's method, or a
            function.
        head: The feature map to logits (B,C): likewise.
        **options: ``mean``, ``std``, ``layer``, ``logits``, ``score`` and the other fields of ``WrapOptions``.

    Raises:
        UnsupportedNetworkError: The network cannot be read, or the parts do not fit together; the message says what
            was expected and what came.
        RegistryError: The name is taken by a network that was not wrapped.
    """
    name = type(model).__name__ if name is None and model is not None else name or ""
    if not name or "/" in name or ":" in name:
        raise unsupported(repr(name), "a name in triples holds no '/' and no ':'")
    unknown = sorted(set(options) - set(WrapOptions.__annotations__))
    if unknown:
        raise unsupported(
            name, f"wrap takes no {', '.join(unknown)}; it takes {', '.join(WrapOptions.__annotations__)}"
        )
    with read_or_said(name):
        network = _network(name, model, features, head, options)

    def build(num_classes: int | None) -> Backbone:
        with usual_torch():
            made = copy.deepcopy(network)
            if num_classes is not None and num_classes != network.num_classes:
                made.heads["softmax"] = network.head().fresh(num_classes=num_classes)
                made.num_classes, made.needs_training = num_classes, True
                made.activation, made.multi_label = "softmax", False
            return made

    BACKBONES.add(name, BackboneSpec(name, build, name, "wrapped by the user", network.num_classes), origin=__name__)
    return network


def _network(
    name: str, model: nn.Module | None, features: Part | None, head: Part | None, options: WrapOptions
) -> Backbone:
    said: dict[str, Any] = {k: v for k, v in options.items() if k in _FACTS}
    reads: dict[str, Any] = {k: v for k, v in options.items() if k not in _FACTS and v is not None}
    if features is None and head is None:
        if not isinstance(model, nn.Module):
            raise unsupported(
                name,
                f"model is {instead_of_network(model)}; expected a network (model=net, layer='layer4'), or both its "
                "parts",
            )
        if {"logits", "score"} <= set(reads):
            raise unsupported(name, "logits= and score= are two ways to say the same; give one")
        return hooked(model, name, Reads(**reads), **said)
    if features is None or head is None:
        raise unsupported(name, "features and head are given together, or neither: model=net, layer='layer4'")
    if reads:
        raise unsupported(name, f"{', '.join(reads)}: for a whole network, model=net without features and head")
    for part, what in ((features, "features"), (head, "head")):
        if model is None and module_of(part) is None:
            raise unsupported(
                name,
                f"{what} is a plain function, whose parameters cannot be found: give a module or a method of one, "
                f"or name the network that it uses with model=…",
            )
    first = features if isinstance(features, nn.Module) else None
    return WrappedNetwork(features, head, facts_of(first, name, **said), model)


def hooked(model: nn.Module, name: str, reads: Reads, **said: Any) -> HookedNetwork:
    """A whole network as a backbone; see ``wrap``.

    Args:
        model: The user's network.
        name: In triples.
        reads: How it is called and read.
        **said: What ``facts_of`` takes.
    """
    check_readable(unwrapped(model), name)
    return HookedNetwork(model, facts_of(unwrapped(model), name, **said), reads)


class WrappedNetwork(Backbone):
    """A network in two parts; see ``wrap``.

    Args:
        features: Normalised images to the feature map.
        head: The feature map to logits.
        facts: What is said of the network.
        model: The module that plain functions use.
    """

    def __init__(self, features: Part, head: Part, facts: NetworkFacts, model: nn.Module | None) -> None:
        super().__init__(facts.mean, facts.std)
        self.name, self.input_size, self.class_names = facts.name, facts.input_size, facts.class_names
        self.multi_label = facts.multi_label
        self.weights_source = "given to cambench.wrap"
        name = facts.name
        functions = [part for part in (features, head) if module_of(part) is None]
        self.reads = function_digest(functions) if functions else ""
        probe = probe_images(self.input_size or PROBE_SIZE, self.image_channels)
        self.body, net, self.model = _own_parts(features, head, model, name, probe)
        like = next(iter([*self.parameters(), *net.parameters()]), self.mean)
        self.to(like.device)
        probe = probe.to(like.device)
        with torch.no_grad():
            given = probe.clone()
            with calls(self.body) as seen:
                made = self._checked_features(given)
            if not torch.equal(given, probe):
                self.body = CopyingPart(self.body)
            self.feature_layer, self.nonnegative = last_layer(seen, made)
            self.feature_layer = self.feature_layer.replace("forward_features", "features")
            with calls(net) as behind:
                logits = _checked_logits(name, net, made)
            if not self.class_names:
                check_classifier(net, [*seen, *behind], logits, name)
            if are_probabilities(behind, logits):
                net = LogitOfProbability(net)
                self.multi_label |= logits.shape[1] > 1
            elif (layer := behind_softmax(behind, logits)) is not None:
                net = LogitsOfSoftmax(net, layer)
            logits = net(made.clone())
            self.num_classes = logits.shape[1]
            check_names(self, self.num_classes)
            split = _recognised_head(net, made, self.num_classes)
            if not close(split(made), logits):
                raise unsupported(name, "its head gives other logits for the same features the second time")
            if isinstance(split, ModuleHead) and (lost := overwritten(net, made)) is not None:
                lost = lost.replace(" owner.", " ").replace(" net.", " ")
                raise unsupported(name, f"head overwrites {lost} in place, which its gradient needs: {ADVICE}")
        self.head_kind = split.kind
        self.heads["softmax"] = split
        if self.num_classes == 1:
            make_binary(self)
        elif self.multi_label:
            self.activation = "sigmoid"
        self.freeze()

    def features(self, images: Tensor) -> Tensor:
        """Target feature map (B,N,P,Q) of normalised images (B,C,R,R), resized first to ``input_size``."""
        features: Tensor = self.body(self.at_own_size(images))
        return features

    def _checked_features(self, probe: Tensor) -> Tensor:
        size = "×".join(map(str, probe.shape))
        try:
            made = self.body(probe)
        except Exception as error:
            raise unsupported(
                self.name,
                f"features fails on images of shape {size} ({type(error).__name__}: {error}); "
                "give input_size=… if it needs another size",
            ) from error
        if not isinstance(made, Tensor):
            raise unsupported(self.name, f"features returns a {type(made).__name__}, expected a tensor (B,N,P,Q)")
        if made.ndim != 4 or len(made) != len(probe):
            raise unsupported(
                self.name,
                f"features returns shape {tuple(made.shape)} for images of shape {size}, expected (2,N,P,Q): channels "
                "first, before any pooling; reshape patch tokens to their grid",
            )
        if not made.isfinite().all():
            raise unsupported(
                self.name,
                f"features makes values that are not finite (NaN, ∞) {_whose(self.body, 'an image of noise')}",
            )
        return made


def _own_parts(
    features: Part, head: Part, model: nn.Module | None, name: str, probe: Tensor
) -> tuple[nn.Module, nn.Module, nn.Module | None]:
    """Copies of the parts and of the module that functions use; what they share stays shared."""
    found = dict.fromkeys(m for part in (model, features, head) for m in modules_in(part))

    def parts(memo: Copies) -> tuple[nn.Module, nn.Module]:
        swap = swapped_for(memo)
        return as_module(rebound(features, swap)), as_module(rebound(head, swap))

    memo = own_copies(list(found), name, lambda memo: tried(nn.Sequential(*parts(memo)), probe))
    body, net = parts(memo)
    return body.eval(), net.eval(), None if model is None else memo[id(model)]


def _whose(net: nn.Module, given: str) -> str:
    odd = not_finite(net)
    return f"because its weights hold them, in {', '.join(odd[:3])}" if odd else f"of {given}"


def _checked_logits(name: str, net: nn.Module, features: Tensor) -> Tensor:
    try:
        logits = net(features.clone())
    except Exception as error:
        raise unsupported(
            name,
            f"head fails on features of shape {tuple(features.shape)} ({type(error).__name__}: {error}); "
            "it must take the feature map, pooling included",
        ) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(features):
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise unsupported(name, f"head returns {found} for features of shape {tuple(features.shape)}, expected (2,C)")
    if not logits.isfinite().all():
        raise unsupported(name, f"head makes logits that are not finite (NaN, ∞) {_whose(net, 'finite features')}")
    return logits


def _recognised_head(net: nn.Module, features: Tensor, classes: int) -> Head:
    """GAP + linear where the logits say so; else the module, on a copy of its input where it works in place."""
    last = [(n, m) for n, m in net.named_modules() if is_classifier(m, classes)]
    trial = trial_like(features)
    for _, module in last:
        gap = gap_linear_of(module).to(features.device)
        if gap.linear.in_features == features.shape[1] and all(
            close(gap(x), net(x.clone())) for x in (features, trial)
        ):
            return gap.eval()
    head = ModuleHead(net, classes, tuple(n for n, _ in last[-1:]))
    given = trial.clone()
    net(given)
    if not torch.equal(given, trial):
        head = ModuleHead(CopyingPart(net), classes, tuple(f"net.{n}" for n, _ in last[-1:]))
    return head.eval()
