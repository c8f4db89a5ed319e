"""Functions that call a network, bound to a copy of it: closures, globals, methods and partial functions."""

from __future__ import annotations

import copy
import functools
import hashlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

Part = nn.Module | Callable[[Tensor], Tensor]
Swap = Callable[[nn.Module], nn.Module]
_LIBRARIES = ("torch", "torchvision", "timm", "transformers", "numpy", "cambench", "builtins")


def module_of(part: Any) -> nn.Module | None:
    """The module that a part is, or whose method it is; None for plain functions."""
    if isinstance(part, nn.Module):
        return part
    owner = getattr(part, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


def modules_in(value: Any, seen: set[int] | None = None) -> Iterator[nn.Module]:
    """Modules that a function reaches by its closure, its globals, its defaults and the functions that it calls."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield value
    for inner in _within(value):
        yield from modules_in(inner, seen)


def _within(value: Any) -> Iterator[Any]:
    if isinstance(value, types.MethodType):
        yield value.__self__
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, list | tuple | set):
        yield from value
    elif isinstance(value, Mapping):
        yield from value.values()
    elif _own_function(value):
        yield from (cell.cell_contents for cell in _filled_cells(value))
        yield from _globals_used(value).values()
        yield from (*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values())


def rebound(value: Any, swap: Swap, done: dict[int, Any] | None = None) -> Any:
    """A function, or anything that holds one, with every module that it reaches replaced by ``swap`` of it.

    Args:
        value: Anything; what reaches no module is returned as it is.
        swap: A module to the module that takes its place.
        done: Those that are made already, by the identity of the original.
    """
    done = {} if done is None else done
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, nn.Module):
        return swap(value)
    if not any(True for _ in modules_in(value)):
        return value
    if isinstance(value, types.MethodType):
        return types.MethodType(value.__func__, rebound(value.__self__, swap, done))
    if isinstance(value, functools.partial):
        words = {k: rebound(v, swap, done) for k, v in value.keywords.items()}
        return functools.partial(
            rebound(value.func, swap, done), *(rebound(v, swap, done) for v in value.args), **words
        )
    if isinstance(value, list | tuple | set):
        return type(value)(rebound(v, swap, done) for v in value)
    if isinstance(value, dict):
        return {k: rebound(v, swap, done) for k, v in value.items()}
    return _rebound_function(value, swap, done) if _own_function(value) else value


def _rebound_function(function: types.FunctionType, swap: Swap, done: dict[int, Any]) -> types.FunctionType:
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    made = types.FunctionType(
        function.__code__, dict(function.__globals__), function.__name__, None, cells if function.__closure__ else None
    )
    # Before its contents are made: a function may hold itself.
    done[id(function)] = made
    for cell, own in zip(function.__closure__ or (), cells, strict=True):
        if cell in _filled_cells(function):
            own.cell_contents = rebound(cell.cell_contents, swap, done)
    made.__globals__.update({k: rebound(v, swap, done) for k, v in _globals_used(function).items()})
    made.__defaults__ = rebound(function.__defaults__, swap, done)
    made.__kwdefaults__ = rebound(function.__kwdefaults__, swap, done)
    made.__dict__.update(function.__dict__)
    return made


def _own_function(value: Any) -> bool:
    """A Python function that is not a library's: those hold no network of the user's."""
    if not isinstance(value, types.FunctionType):
        return False
    return (value.__module__ or "").split(".")[0] not in _LIBRARIES


def _filled_cells(function: types.FunctionType) -> list[types.CellType]:
    found = []
    for cell in function.__closure__ or ():
        try:
            _ = cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
        found.append(cell)
    return found


def _globals_used(function: types.FunctionType) -> dict[str, Any]:
    """The globals that a function, or one defined inside it, names."""
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [c for c in code.co_consts if isinstance(c, types.CodeType)]
    return {n: function.__globals__[n] for n in names if n in function.__globals__}


def function_digest(value: Any) -> str:
    """SHA-256 (hex) of what a function computes: its code, its constants, and the tensors and numbers that it holds."""
    digest = hashlib.sha256()
    _digest(value, digest.update, set())
    return digest.hexdigest()


def _digest(value: Any, update: Callable[[bytes], object], seen: set[int]) -> None:
    if id(value) in seen:
        return
    if isinstance(value, types.CodeType):
        update(value.co_code + repr(value.co_names).encode())
        for constant in value.co_consts:
            _digest(constant, update, seen)
    elif isinstance(value, Tensor):
        update(repr((value.dtype, tuple(value.shape), value.detach().flatten().tolist())).encode())
    elif isinstance(value, str | bytes | int | float | bool | None):
        update(repr(value).encode())
    elif _own_function(value) or isinstance(value, types.MethodType | functools.partial | list | tuple | Mapping):
        seen.add(id(value))
        if isinstance(value, types.FunctionType):
            _digest(value.__code__, update, seen)
        for inner in _within(value):
            _digest(inner, update, seen)


class FunctionPart(nn.Module):
    """A function as a module; ``owner`` registers the parameters of the module whose method it is.

    A copy of it calls the copies of the modules that the function reaches.
    """

    def __init__(self, function: Callable[..., Any], owner: nn.Module | None = None) -> None:
        super().__init__()
        self.owner, self._name = owner, getattr(function, "__name__", "")
        self._function = None if owner is not None else function

    def forward(self, x: Any) -> Any:
        """What the function returns."""
        # By name: after a copy the method must be the copy's own.
        return self._function(x) if self._function is not None else getattr(self.owner, self._name)(x)

    def __deepcopy__(self, memo: dict[int, Any]) -> FunctionPart:
        made = FunctionPart.__new__(FunctionPart)
        memo[id(self)] = made
        nn.Module.__init__(made)
        made.owner, made._name = copy.deepcopy(self.owner, memo), self._name
        made._function = rebound(self._function, lambda m: copy.deepcopy(m, memo))
        return made.train(self.training)


class CopyingPart(nn.Module):
    """A part that changes its input in place, on a copy of it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, given: Tensor) -> Tensor:
        """What the part makes of a copy."""
        out: Tensor = self.net(given.clone())
        return out


def as_module(part: Part) -> nn.Module:
    """A part as a module."""
    return part if isinstance(part, nn.Module) else FunctionPart(part, module_of(part))
