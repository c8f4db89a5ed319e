"""Copies of people's networks that cambench may take apart: the network itself stays as it was, in every respect.

The copy is out of ``torch.compile``, ``DataParallel`` and other wrappers, in evaluation mode, frozen, in float32, and
without the hooks of others, unless its results depend on them.
"""

from __future__ import annotations

import copy
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from ..timm.layout import unsupported
from .no_network import exported_parts

_HOOKS = (
    *("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"),
    *("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"),
)
_LIBRARIES = ("torch", "torchvision", "timm", "transformers")
"""Packages whose hooks are part of the network: weight and spectral norms, pruning, …"""
_SHARDED = ("DTensor", "FlatParameter")
"""Kinds of parameters of which a process holds a part; to run them outside their group may end the process."""
_SHOWN = 3
_SAID: WeakSet[nn.Module] = WeakSet()
"""Networks whose precision has been spoken of: one network is copied several times while it is read."""
_RECOMPUTE = ("grad_checkpointing", "gradient_checkpointing", "use_checkpoint", "memory_efficient", "with_cp")
"""Switches of libraries that save memory in training by a second forward in the backward, where no hook is set."""
Copies = Mapping[int, Any]
"""Id of an original -> its copy."""
Run = Callable[[Copies], Tensor | None]
"""Results of the copies on a probe, as a function of the copies' memo (id of an original -> its copy)."""


def unwrapped(module: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``, ``DataParallel``, ``DistributedDataParallel`` and averaged models."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and isinstance(module, DataParallel | DistributedDataParallel | AveragedModel):
            inner = module.module
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def own_copies(modules: Sequence[nn.Module], name: str, run: Run | None = None) -> dict[int, Any]:
    """Copies of modules, made together, so that what they share stays shared: id of an original -> its copy.

    Args:
        modules: The user's modules; they are only read.
        name: Name of the network, for messages.
        run: Where the results may depend on hooks of others: what decides whether they do.

    Raises:
        UnsupportedNetworkError: A module that cannot be read or copied; the message says why and what to do.
    """
    inner = [unwrapped(m) for m in modules]
    for module in inner:
        check_readable(module, name)
    _say_precision(inner, name)
    memo = _copied(inner, name, foreign=False)
    if run is not None and any(True for _ in _foreign_hooks(inner)):
        with_hooks = _copied(inner, name, foreign=True)
        first, second = run(memo), run(with_hooks)
        if first is None or second is None or not torch.equal(first, second):
            memo = with_hooks
    # The wrappers are found in the memo under their own identity as well.
    memo |= {id(outer): memo[id(module)] for outer, module in zip(modules, inner, strict=True)}
    return memo


def swapped_for(memo: Copies) -> Callable[[nn.Module], nn.Module]:
    """A module to its copy; one without a copy stays itself."""

    def swap(module: nn.Module) -> nn.Module:
        made: nn.Module = memo.get(id(module), module)
        return made

    return swap


def tried(net: nn.Module, probe: Tensor) -> Tensor | None:
    """What a network makes of a probe, on its own device; None where it fails, which its run in earnest says."""
    like = next(net.parameters(), probe)
    with torch.no_grad():
        try:
            made: Tensor = net(probe.to(like.device))
            return made
        except Exception:  # the network's own code
            return None


def own_copy(module: nn.Module, name: str, run: Callable[[nn.Module], Tensor | None] | None = None) -> nn.Module:
    """The copy of one network; see ``own_copies``."""
    memo = own_copies([module], name, None if run is None else lambda memo: run(memo[id(unwrapped(module))]))
    return cast(nn.Module, memo[id(module)])


def not_finite(module: nn.Module) -> list[str]:
    """Names of parameters and buffers that hold NaN or infinity."""
    state = (*module.named_parameters(), *module.named_buffers())
    return [key for key, tensor in state if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all())]


def check_readable(module: nn.Module, name: str) -> None:
    """Raise ``UnsupportedNetworkError`` for a network that holds no real numbers, or none of which can be read."""
    scripted = [key for key, m in module.named_modules() if isinstance(m, torch.jit.ScriptModule)]
    if scripted:
        raise unsupported(
            name,
            f"{f'its part {scripted[0]}' if scripted[0] else 'it'} is compiled by torch.jit (script or trace), so its "
            "layers can neither be read nor copied; give the network in Python that it was made from, with its weights "
            "(net.load_state_dict(scripted.state_dict()))",
        )
    for key, why in exported_parts(module):
        raise unsupported(name, f"{f'its part {key}' if key else 'it'} is {why}")
    tensors = (*module.named_parameters(), *module.named_buffers())
    if any(isinstance(t, nn.parameter.UninitializedParameter | nn.parameter.UninitializedBuffer) for _, t in tensors):
        raise unsupported(name, "its lazy layers have no shape yet; run it on one image first")
    for key, tensor in tensors:
        if tensor.is_meta:
            raise unsupported(name, f"{key} is on the device meta and holds no values; load the weights first")
    if split := [key for key, t in tensors if type(t).__name__ in _SHARDED]:
        raise unsupported(
            name,
            f"its weights are spread over processes (FSDP, tensor parallel; {split[0]} is a part); give the whole "
            "network: load get_model_state_dict(net, options=StateDictOptions(full_state_dict=True)) into a plain one",
        )
    strange = [f"{key} ({p.dtype})" for key, p in module.named_parameters() if not p.is_floating_point()]
    strange += [f"{key} (quantised)" for key, m in module.named_modules() if _is_quantised(m)]
    strange += [f"{key} (quantised)" for key, t in tensors if t.is_quantized or type(t).__module__[:7] == "torchao"]
    if strange:
        raise unsupported(
            name,
            f"{', '.join(strange[:_SHOWN])}: integers have no gradient; give the network before it was quantised",
        )


def _is_quantised(module: nn.Module) -> bool:
    """Whether a layer computes with integers; networks built to be quantised add with ``FloatFunctional`` before."""
    return "quantized" in type(module).__module__ and type(module).__name__ != "FloatFunctional"


def _say_precision(modules: Sequence[nn.Module], name: str) -> None:
    found = {p.dtype for m in modules if m not in _SAID for p in m.parameters() if p.dtype != torch.float32}
    _SAID.update(modules)
    if found:
        held = ", ".join(sorted(str(dtype).removeprefix("torch.") for dtype in found))
        warnings.warn(
            f"{name} holds {held} parameters: everything is computed on a float32 copy", UserWarning, stacklevel=5
        )


def _copied(modules: Sequence[nn.Module], name: str, foreign: bool) -> dict[int, Any]:
    """Memo of the copies; with hooks of others if ``foreign``."""
    shared: dict[int, Any] = {}
    for module in (m for whole in modules for m in whole.modules()):
        for kind in _HOOKS:
            hooks = module.__dict__.get(kind)
            if hooks is not None:
                shared[id(hooks)] = OrderedDict(
                    (key, hook) for key, hook in hooks.items() if (foreign and "forward" in kind) or _librarys(hook)
                )
        # A tensor with a graph cannot be copied: an old weight norm's weight, an activation that forward kept.
        for value in (*module.__dict__.values(), *module._buffers.values()):
            if isinstance(value, Tensor) and value.grad_fn is not None:
                shared[id(value)] = value.detach().clone()
    try:
        memo = dict(shared)
        copies = copy.deepcopy(list(modules), memo)
    except Exception as error:
        memo = dict(shared) | _uncopyable(modules, shared)
        try:
            copies = copy.deepcopy(list(modules), memo)
        except Exception:
            raise unsupported(
                name,
                f"it cannot be copied ({type(error).__name__}: {error}), and cambench works on a copy so that yours "
                "stays as it is; take out of it what copy.deepcopy refuses",
            ) from error
    for made in copies:
        _settle(made, memo)
    # deepcopy keeps what it copied alive under a key of its own; what follows needs no such list.
    memo.pop(id(memo), None)
    return memo


def _uncopyable(modules: Sequence[nn.Module], shared: Mapping[int, Any]) -> dict[int, Any]:
    """Attributes that are no tensors and no modules and refuse to be copied (locks, loggers, trainers), as they are."""
    own = {"_parameters", "_buffers", "_modules"}
    found: dict[int, Any] = {}
    for module in (m for whole in modules for m in whole.modules()):
        for key, value in module.__dict__.items():
            if key in own or isinstance(value, nn.Module | Tensor):
                continue
            try:
                copy.deepcopy(value, dict(shared))
            except Exception:  # whatever an object of others raises
                found[id(value)] = value
    return found


def _settle(net: nn.Module, memo: dict[int, Any]) -> None:
    """The copy in evaluation mode, frozen, in float32, without wrappers and operations in place inside."""
    for module in list(net.modules()):
        for key, child in list(module.named_children()):
            if unwrapped(child) is not child:
                module._modules[key] = unwrapped(child)
    for original, made in list(memo.items()):
        if isinstance(made, nn.Module):
            memo[original] = unwrapped(made)
    net.eval().requires_grad_(False).float()
    for module in net.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
        for switch in _RECOMPUTE:
            if getattr(module, switch, None) is True:
                setattr(module, switch, False)
        for key, value in module.__dict__.items():
            if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float32:
                module.__dict__[key] = value.float()


def _foreign_hooks(modules: Sequence[nn.Module]) -> Iterator[Any]:
    for module in (m for whole in modules for m in whole.modules()):
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            yield from (hook for hook in hooks.values() if not _librarys(hook))


def _librarys(hook: Any) -> bool:
    """Whether a hook is a library's own, and so a part of the network."""
    hook = getattr(hook, "func", hook)
    owner = hook if isinstance(hook, types.FunctionType | types.MethodType) else type(hook)
    return str(getattr(owner, "__module__", "")).split(".")[0] in _LIBRARIES
