"""Which layer of a network is read, by its name or by what its outputs are, and which layers come before it."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..timm.layout import Call, UnsupportedNetworkError, calls, unsupported
from .outputs import fields_of, first_tensor
from .tapped import CalledNetwork, ReadPoint, Shapes, layout_of_map

_WRAPPERS = ("module", "_orig_mod")
_ITSELF = ("model", "net", "network", "self")
"""What people call a network in the code from which they copy a layer's name."""
_PASSIVE = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Softmax)


def layer_name(net: nn.Module, layer: str, name: str) -> str:
    """The layer's name inside ``net``; wrappers (``module.``), the network's own name and ``[-1]`` may stand in it.

    Raises:
        UnsupportedNetworkError: There is no such layer; the nearest names are told.
    """
    first: dict[int, str] = {}
    # A module by a second name is the one that runs by its first.
    known = {n: first.setdefault(id(m), n) for n, m in net.named_modules(remove_duplicate=False) if n}
    dotted = re.sub(r"\[(-?\d+)\]", r".\1", layer).strip(".")
    bare = _counted(net, [part for part in dotted.split(".") if part not in _WRAPPERS])
    start, _, rest = bare.partition(".")
    for wanted in (layer, bare, rest if start in _ITSELF else bare):
        if wanted in known:
            return known[wanted]
    # The layers of cambench's own networks lie in a body; people name them as the network's author did.
    inside: list[str] = [n for n in known.values() if n.endswith(f".{bare}")]
    if len(set(inside)) == 1:
        return inside[0]
    near = difflib.get_close_matches(bare, sorted(known), n=3, cutoff=0.5) or sorted(known, key=lambda n: n.count("."))
    raise unsupported(name, f"it has no layer {layer!r}; nearest: {', '.join(near[:3])}")


def _counted(net: nn.Module, parts: Sequence[str]) -> str:
    """A name whose negative numbers count from the end of their container; what is unknown stays as it is."""
    found: list[str] = []
    for part in parts:
        if part.startswith("-") and part[1:].isdigit():
            inside = _child(net, found) or (_child(net, found[1:]) if found and found[0] in _ITSELF else None)
            names = [n for n, _ in inside.named_children()] if inside is not None else []
            part = names[int(part)] if int(part[1:]) <= len(names) else part
        found.append(part)
    return ".".join(found)


def _child(net: nn.Module, parts: Sequence[str]) -> nn.Module | None:
    try:
        return net.get_submodule(".".join(parts))
    except AttributeError:
        return None


def tap_at(layer: str, seen: Sequence[Call], prefix: int | None, name: str) -> ReadPoint:
    """Where the network is read, at the last call of a layer in a forward of two images.

    Raises:
        UnsupportedNetworkError: The layer did not run, or returns no feature map.
    """
    made = [c for c in seen if c.name == layer]
    if not made:
        ran = list(dict.fromkeys(c.name for c in seen))
        near = [n for n in ran if n.startswith(f"{layer}.")] or difflib.get_close_matches(layer, ran, n=2) or ran
        raise unsupported(
            name, f"its layer {layer} does not run in a forward, so it makes no map; one that runs is {near[-1]}"
        )
    return ReadPoint(layer, len(made), layout_of_map(first_tensor(made[-1].output), prefix, name, layer))


def chosen_tap(called: CalledNetwork, probe: Tensor, prefix: int | None, name: str) -> ReadPoint:
    """The last layer whose output is a map on which the logits depend: before the pooling, as Grad-CAM reads it.

    Among tokens only normalised ones are considered: of a network that decides by a class token, the last block's
    first normalisation.

    Raises:
        UnsupportedNetworkError: There is none.
    """
    with torch.enable_grad(), calls(called.net) as seen:
        logits = called(probe.clone().requires_grad_())
        check_gradient(logits, name)
        score = _depending_on(seen, logits)
    last = {c.name: place for place, c in enumerate(seen)}
    for place in range(len(seen) - 1, -1, -1):
        call = seen[place]
        made = _only_tensor(call.output)
        if last[call.name] != place or made is None or isinstance(call.module, _PASSIVE) or made.grad_fn is None:
            continue
        if made.ndim == 3 and "Norm" not in type(call.module).__name__:
            continue
        try:
            tap = tap_at(call.name, seen, prefix, name)
        except UnsupportedNetworkError:
            continue
        gradient: Tensor | None = torch.autograd.grad(score, made, retain_graph=True, allow_unused=True)[0]
        if gradient is not None and bool(tap.layout.feature_map(gradient).abs().max() > 0):
            return _outermost(tap, made, seen)
    raise unsupported(
        name,
        "no layer of it returns a feature map on which its logits depend; name one with layer=…, or give features=",
    )


def check_gradient(logits: Tensor, name: str) -> None:
    """Raise ``UnsupportedNetworkError`` where no gradient can come back from the logits."""
    if not logits.requires_grad:
        raise unsupported(
            name,
            "no gradient comes back from what it returns: its forward computes under torch.no_grad or inference_mode, "
            "detaches its tensors, or recomputes them (torch.utils.checkpoint); take that out of it",
        )


def depends(called: CalledNetwork, probe: Tensor, features: Tensor, tap: ReadPoint, name: str) -> bool:
    """Whether the logits depend on the layer's map (2,N,P,Q) at all: the last patches of a class token's net do not.

    Raises:
        UnsupportedNetworkError: No gradient comes back from the logits.
    """
    with torch.enable_grad(), calls(called.net) as seen:
        leaf = features.detach().clone().requires_grad_()
        logits = called.replaced(probe, leaf, tap)
        if not logits.requires_grad:
            check_gradient(called(probe.clone().requires_grad_()), name)
        score = _depending_on(seen, logits)
        if not score.requires_grad:
            return False
        gradient: Tensor | None = torch.autograd.grad(score, leaf, allow_unused=True)[0]
    return gradient is not None and bool(gradient.abs().max() > 0)


def _only_tensor(out: object) -> Tensor | None:
    """The tensor of an output that holds no other: what goes on from a layer."""
    held = [out] if isinstance(out, Tensor) else [v for v in fields_of(out).values() if isinstance(v, Tensor)]
    return held[0] if len(held) == 1 else None


def _depending_on(seen: Sequence[Call], logits: Tensor) -> Tensor:
    """A random combination of the logits and of the last linear layer's input, as its weights may still be zero."""
    last = [c for c in seen if isinstance(c.module, nn.Linear) and c.given and isinstance(c.given[0], Tensor)]
    read = [logits, *(c.given[0] for c in last[-1:] if c.given[0].ndim == 2)]
    generator = torch.Generator().manual_seed(3)
    weighted = [(torch.randn(t.shape, generator=generator).to(t) * t).sum() for t in read]
    return torch.stack(weighted).sum()


def _outermost(tap: ReadPoint, made: Tensor, seen: Sequence[Call]) -> ReadPoint:
    """The same tensor by the name of the module that ends with it."""
    same = [c.name for c in seen if _only_tensor(c.output) is made and tap.layer.startswith(f"{c.name}.")]
    if not same:
        return tap
    name = min(same, key=len)
    return ReadPoint(name, sum(c.name == name for c in seen), tap.layout)


def before(tap: ReadPoint, seen: Sequence[Call]) -> set[str]:
    """Names of the layers that end before the tap."""
    return {c.name for c in seen[: place_of(tap, seen)]}


def layers_before(tap: ReadPoint, seen: Sequence[Call]) -> Shapes:
    """The layers that need not run where the map alone decides: those that end before it, and the layer itself."""
    at = place_of(tap, seen)
    often = Counter(c.name for c in seen)
    found: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
    # From the outside in: what runs inside a layer that is skipped does not run.
    for call in reversed(seen[: at + 1]):
        out = call.output
        inside = any(call.name.startswith(f"{name}.") for name in found)
        if inside or often[call.name] > 1 or not isinstance(out, Tensor) or out.ndim == 0 or len(out) != 2:
            continue
        found[call.name] = (out.dtype, tuple(out.shape[1:]))
    return found


def place_of(tap: ReadPoint, seen: Sequence[Call]) -> int:
    """The tap's place among the calls of a forward."""
    return [i for i, c in enumerate(seen) if c.name == tap.layer][tap.call - 1]
