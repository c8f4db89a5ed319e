"""Where a network's classifier is, and whether it has one: pooled features are no scores of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..timm.layout import Call, close, unsupported
from .outputs import first_tensor

_ACTIVATIONS = (F.relu, F.relu6, F.hardswish, F.silu, F.gelu, torch.tanh, F.leaky_relu, F.elu)
"""What stands between the layers of a network, and never behind its classifier."""


def is_classifier(module: nn.Module, classes: int) -> bool:
    """Whether a layer is a linear one, or a 1×1 convolution, of so many outputs."""
    if isinstance(module, nn.Linear):
        return module.out_features == classes
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.out_channels == classes


def check_classifier(net: nn.Module, seen: Sequence[Call], logits: Tensor, name: str) -> None:
    """Refuse a network whose output is features: nothing behind its last layer makes scores of classes of them.

    What makes the output in a way of its own (a layer of another kind, a function) is taken for a classifier.

    Args:
        net: The network. seen: Its calls in one forward, in the order in which they ended. logits: Its output (B,C).
        name: For the message.

    Raises:
        UnsupportedNetworkError: The output is a normalised, activated or merely pooled feature vector.
    """
    classes = logits.shape[1]
    if (reader := _read_by(seen, logits)) is not None:
        raise unsupported(
            name,
            f"its {classes} values an image are what {_said(reader)} reads, features and no scores of classes; "
            "say where in what it returns the logits are: logits=lambda out: …",
        )
    called = {c.name for c in seen}
    # A function may use a matrix of a module that is not called itself.
    idle = (m for n, m in net.named_modules() if n not in called)
    if any(p.ndim == 2 and len(p) == classes for m in idle for p in m.parameters(recurse=False)):
        return
    learnt = [c for c in seen if next(c.module.parameters(recurse=False), None) is not None]
    layers = [c for c in learnt if not _normalises(c.module)]
    if not learnt or not layers:
        return
    last = layers[-1]
    own = isinstance(last.module, nn.Linear | nn.Conv2d) and classes == len(last.module.weight)
    made = first_tensor(last.output)
    if learnt[-1] is not last and not (own and made is not None and made.ndim == 2):
        raise _none(name, classes, f"what {_said(learnt[-1])} and a pooling make")
    if not own or made is None:
        return
    if _activated(last, made, logits):
        raise _none(name, classes, f"the activated outputs of {_said(last)}")
    if close(logits.norm(dim=1), torch.ones_like(logits[:, 0])) and not close(logits.sum(1), logits.norm(dim=1)):
        raise _none(name, classes, "a vector of length 1")


def are_probabilities(seen: Sequence[Call], output: Tensor) -> bool:
    """Whether a network's output (B,C) is a sigmoid, by a layer or a function, of its last layer's."""
    if not seen or not bool(((output >= 0) & (output <= 1)).all()):
        return False
    for call in reversed(seen):
        made = first_tensor(call.output)
        if isinstance(call.module, nn.Sigmoid) and made is not None and close(made.flatten(1), output):
            return True
        if isinstance(call.module, nn.Linear | nn.Conv2d) and made is not None:
            return any(close(pooled.sigmoid().flatten(1), output) for pooled in _pooled(made))
    return False


def behind_softmax(seen: Sequence[Call], output: Tensor) -> str | None:
    """The layer whose outputs a network's final softmax, a layer or a function, made its output (B,C) of.

    Empty where the output is a softmax's, but of no layer's own outputs; None where it is none.
    """
    sums = output.sum(1)
    if output.shape[1] < 2 or not bool((output >= 0).all()) or not close(sums, torch.ones_like(sums)):
        return None
    # The last call of each layer: it is what a forward leaves there.
    for name, call in reversed({c.name: c for c in seen}.items()):
        made = first_tensor(call.output)
        if made is None or not made.is_floating_point() or made.numel() != output.numel():
            continue
        flat = made.reshape(output.shape)
        if close(flat.softmax(1), output) and not close(flat, output):
            return name
    return ""


def _read_by(seen: Sequence[Call], logits: Tensor) -> Call | None:
    """The linear layer that was given the output: a network that returns its features beside its logits."""
    for call in seen:
        given = call.given[0] if call.given and isinstance(call.module, nn.Linear) else None
        if isinstance(given, Tensor) and given.is_floating_point() and close(given, logits):
            return call
    return None


def _normalises(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__


def _activated(last: Call, made: Tensor, logits: Tensor) -> bool:
    """Whether the output is the last layer's behind an activation; SqueezeNet's ReLU of its 1×1 classes may be."""
    pointwise = isinstance(last.module, nn.Conv2d) and last.module.kernel_size == (1, 1)
    if any(close(pooled, logits) for pooled in _pooled(made)) or pointwise:
        return False
    if isinstance(last.module, nn.Conv2d):
        # Behind a wider convolution any chain of activations and poolings leaves its channels as they are.
        return bool((logits >= 0).all())
    return any(close(pooled, logits) for act in _ACTIVATIONS for pooled in _pooled(act(made)))


def _pooled(made: Tensor) -> Iterator[Tensor]:
    if made.ndim == 2:
        yield made
    elif made.ndim == 4:
        yield made.mean((-2, -1))
        yield made.amax((-2, -1))
    elif made.ndim == 3:
        yield made.mean(1)
        yield made[:, 0]


def _said(call: Call) -> str:
    return f"{call.name} ({type(call.module).__name__})"


def _none(name: str, classes: int, what: str) -> Exception:
    return unsupported(
        name,
        f"it has no classifier: its {classes} values an image are {what}, features and no scores of classes; give it "
        "a linear layer to its classes, or, if they are scores of classes, name them with class_names=[…]",
    )
