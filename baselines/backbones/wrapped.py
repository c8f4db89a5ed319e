"""A network of the user's own, wrapped in one call: ``features`` and ``head`` are all that a benchmark needs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contracts import BACKBONES, Backbone, BackboneSpec, Head
from ..heads.heads import ModuleHead, gap_linear_of
from ..probes.in_place import ADVICE, overwritten
from .timm.layout import calls, close, last_layer, unsupported

Part = nn.Module | Callable[[Tensor], Tensor]
PROBE_SIZE = 224


def wrap(
    *,
    name: str,
    features: Part,
    head: Part,
    mean: Sequence[float],
    std: Sequence[float],
    input_size: int | None = None,
    class_names: Sequence[str] = (),
    model: nn.Module | None = None,
) -> Backbone:
    """A frozen copy of a network as a backbone, registered under ``name`` for triples (``name/gradcam/softmax``).

    Call it before ``cambench.run``, or in a ``--plugin`` file, or hand the result to what takes a ``Backbone``::

        net = torchvision.models.resnet18(weights="DEFAULT")
        cambench.wrap(
            name="mine",
            features=torch.nn.Sequential(*list(net.children())[:-2]),
            head=torch.nn.Sequential(net.avgpool, torch.nn.Flatten(), net.fc),
            mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
        )

    A head that is global average pooling and one linear layer is recognised by its logits, so CAM and the identities
    of such heads apply. A part that changes its input in place is given a copy. Wrapping again replaces the network.

    Args:
        name: Name in triples.
        features: Normalised images (B,3,R,R) to the target feature map (B,N,P,Q): a module, or a module's method.
        head: The feature map to logits (B,C): a module, or a module's method.
        mean: Of each channel, in [0, 1]; images are normalised as (x − mean) / std.
        std: As ``mean``.
        input_size: Side in pixels that the network needs; images of another size are resized to it (bilinear,
            antialiased). None where it takes any size.
        class_names: Names of the C classes, in the order of the logits.
        model: Where ``features`` or ``head`` is a plain function: the module whose parameters it uses. Such a network
            is not copied; it is frozen as it is.

    Raises:
        UnsupportedNetworkError: The parts do not fit together; the message says what was expected and what came.
        RegistryError: The name is taken by a network that was not wrapped.
    """
    if not name or "/" in name or ":" in name:
        raise unsupported(repr(name), "a name in triples holds no '/' and no ':'")
    network = WrappedNetwork(name, features, head, mean, std, input_size, tuple(class_names), model)

    def build(num_classes: int | None) -> Backbone:
        made = network if model is not None else copy.deepcopy(network)
        if num_classes is not None and num_classes != network.num_classes:
            made = copy.deepcopy(network)
            made.heads["softmax"] = network.head().fresh(num_classes=num_classes)
            made.num_classes, made.needs_training = num_classes, True
        return made

    BACKBONES.add(name, BackboneSpec(name, build, name, "wrapped by the user", network.num_classes), origin=__name__)
    return network


class WrappedNetwork(Backbone):
    """See ``wrap``."""

    def __init__(
        self,
        name: str,
        features: Part,
        head: Part,
        mean: Sequence[float],
        std: Sequence[float],
        input_size: int | None,
        class_names: tuple[str, ...],
        model: nn.Module | None,
    ) -> None:
        for what, values in (("mean", mean), ("std", std)):
            if len(values) != 3:
                raise unsupported(name, f"{what} needs three values, one for each of red, green and blue; got {values}")
        super().__init__(mean, std)
        for part, what in ((features, "features"), (head, "head")):
            if model is None and _module_of(part) is None:
                raise unsupported(
                    name,
                    f"{what} is a plain function, whose parameters cannot be found: give a module or a method of one, "
                    f"or name the network that it uses with model=…",
                )
        if model is None:
            # Together, so that what they share stays shared.
            features, head = copy.deepcopy((features, head))
        self.name, self.input_size, self.class_names = name, input_size, class_names
        self.weights_source = "given to cambench.wrap"
        self.body, self.model = _as_module(features), model
        net = _as_module(head)
        self.eval()
        net.eval()
        like = next(iter([*self.parameters(), *net.parameters()]), self.mean)
        self.to(like.device)
        size = input_size or PROBE_SIZE
        probe = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0)).to(like.device)
        with torch.no_grad():
            given = probe.clone()
            with calls(self.body) as seen:
                made = self._checked_features(given)
            if not torch.equal(given, probe):
                self.body = _Copying(self.body)
            self.feature_layer, self.nonnegative = last_layer(seen, made)
            self.feature_layer = self.feature_layer.replace("forward_features", "features")
            logits = _checked_logits(name, net, made)
            self.num_classes = logits.shape[1]
            if class_names and len(class_names) != self.num_classes:
                raise unsupported(name, f"{len(class_names)} class names for {self.num_classes} logits")
            split = _recognised_head(net, made, self.num_classes)
            if not close(split(made), logits):
                raise unsupported(name, "its head gives other logits for the same features the second time")
            if isinstance(split, ModuleHead) and (lost := overwritten(net, made)) is not None:
                lost = lost.replace(" owner.", " ")
                raise unsupported(name, f"head overwrites {lost} in place, which its gradient needs: {ADVICE}")
        self.head_kind = split.kind
        self.heads["softmax"] = split
        self.freeze()

    def features(self, images: Tensor) -> Tensor:
        """Target feature map (B,N,P,Q) of normalised images (B,3,R,R), resized first to ``input_size``."""
        size = self.input_size
        if size is not None and images.shape[-2:] != (size, size):
            images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=True)
        features: Tensor = self.body(images)
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
            raise unsupported(self.name, "features makes values that are not finite (NaN, ∞) of an image of noise")
        return made


class _Function(nn.Module):
    """A function as a module; ``owner`` registers the parameters of the module whose method it is."""

    def __init__(self, function: Callable[[Tensor], Tensor], owner: nn.Module | None) -> None:
        super().__init__()
        self.owner, self._name = owner, getattr(function, "__name__", "")
        self._function = None if owner is not None else function

    def forward(self, x: Tensor) -> Tensor:
        # By name: after a copy the method must be the copy's own.
        out: Tensor = self._function(x) if self._function is not None else getattr(self.owner, self._name)(x)
        return out


class _Copying(nn.Module):
    """A part that changes its input in place, on a copy of it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, given: Tensor) -> Tensor:
        out: Tensor = self.net(given.clone())
        return out


def _module_of(part: Part) -> nn.Module | None:
    if isinstance(part, nn.Module):
        return part
    owner = getattr(part, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def _as_module(part: Part) -> nn.Module:
    return part if isinstance(part, nn.Module) else _Function(part, _module_of(part))


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
        raise unsupported(name, "head makes logits that are not finite (NaN, ∞) of finite features")
    return logits


def _recognised_head(net: nn.Module, features: Tensor, classes: int) -> Head:
    """GAP + linear where the logits say so; else the module, on a copy of its input where it works in place."""
    last = [(n, m) for n, m in net.named_modules() if _is_classifier(m, classes)]
    # Values of both signs, large and small: a pooling of another kind, or an activation before it, shows.
    trial = torch.randn(features.shape, generator=torch.Generator().manual_seed(1)).to(features) * 3
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
        head = ModuleHead(_Copying(net), classes, tuple(f"net.{n}" for n, _ in last[-1:]))
    return head.eval()


def _is_classifier(module: nn.Module, classes: int) -> bool:
    if isinstance(module, nn.Linear):
        return module.out_features == classes
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.out_channels == classes
