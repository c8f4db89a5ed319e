"""What the built-in modules register, read from their source instead of importing them.

The built-in methods, networks, data sets and metrics import torch, timm and Arrow: ten seconds of CPU. A list of names,
or the answer to a misspelt one, needs no more than what stands in the registrations themselves, so these are parsed
(a tenth of a second). A fact that only running the code gives is left out. Tests compare every list with its registry.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from .registry import EVERY, Registry, modules_of, place_in_folder

HERE = Path(__file__).parent


class Place(NamedTuple):
    """Where a registry stands, and the call that makes an entry of it."""

    module: str
    """Dotted, below the package (``baselines.contracts``)."""
    registry: str
    """Its name there (``HEADS``)."""
    call: str
    """Decorator or class whose arguments describe an entry (``HeadSpec``), defined in the same module."""


class Declared(NamedTuple):
    """The built-in entries of a registry, as their source declares them, in order of registration."""

    kind: str
    """What an entry is called in messages."""
    entries: Mapping[str, SimpleNamespace]
    """Name -> the arguments and defaults of its registration that are plain values."""


class _UnknownError(Exception):
    """A value that only running the code gives."""


def declared(place: Place) -> Declared | None:
    """The built-in entries of a registry without importing them; None where they are imported, or others add to them.

    Who gets None asks the registry itself: it is loaded, or entry points of other packages must be imported to know
    what they register.
    """
    _, group, modules = _about(place)
    if entry_points(group=group) or any(module in sys.modules for module in modules_of(modules)):
        return None
    return built_in(place)


@cache
def built_in(place: Place) -> Declared:
    """The built-in entries of a registry, whatever is loaded."""
    home = _source(place.module)
    kind, _, modules = _about(place)
    entries: dict[str, SimpleNamespace] = {}
    for module in modules:
        inside = [
            (source.module, _bound(call, home.definitions[place.call], source))
            for part in modules_of([module])
            for source, call in _calls(_inside(part), place.call, set())
        ]
        if module.endswith(EVERY):
            inside.sort(key=lambda each: place_in_folder(each[0], each[1].source))
        for _, found in inside:
            found.__dict__.setdefault("title", None)
            found.title = found.title or found.name
            entries[found.name] = found
    return Declared(kind, entries)


def registry_of(place: Place) -> Registry[Any]:
    """The registry itself; its built-in entries are imported when it is first looked into."""
    found: Registry[Any] = getattr(import_module(f"{__package__}.{place.module}"), place.registry)
    return found


def _about(place: Place) -> tuple[str, str, tuple[str, ...]]:
    """Kind, entry-point group and built-in modules of a registry."""
    home = _source(place.module)
    call = home.values[place.registry]
    assert isinstance(call, ast.Call)
    kind, group, modules = (_value(arg, home) for arg in call.args[:3])
    return kind, group, modules


class _Source(NamedTuple):
    """A module of ours: its top level by name."""

    module: str
    package: bool
    tree: ast.Module
    definitions: dict[str, ast.ClassDef | ast.FunctionDef]
    values: dict[str, ast.expr]
    imports: dict[str, tuple[str, str]]


@cache
def _source(module: str) -> _Source:
    path = HERE.joinpath(*module.split("."))
    package = path.is_dir()
    file = path / "__init__.py" if package else path.with_suffix(".py")
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    source = _Source(module, package, tree, {}, {}, {})
    for node in tree.body:
        match node:
            case ast.ClassDef() | ast.FunctionDef():
                source.definitions[node.name] = node
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                source.values[name] = value
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=parts)):
                source.values.update({ast.unparse(t): part for t, part in zip(targets, parts, strict=False)})
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                source.values[name] = value
            case ast.ImportFrom():
                origin = _origin(source, node)
                for alias in node.names if origin is not None else ():
                    source.imports[alias.asname or alias.name] = (str(origin), alias.name)
            case _:
                pass
    return source


def _origin(source: _Source, node: ast.ImportFrom) -> str | None:
    """The module of ours that a relative import names, below the package; None for others' modules."""
    if not node.level:
        return None
    parts = source.module.split(".")
    parts = parts[: len(parts) - node.level + source.package]
    return ".".join([*parts, *(node.module or "").split(".")]).strip(".")


def _inside(module: str) -> str:
    return module.removeprefix(f"{__package__}.")


def _is_module(module: str) -> bool:
    path = HERE.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()


def _calls(module: str, name: str, seen: set[str]) -> Iterator[tuple[_Source, ast.Call]]:
    """Calls of ``name`` at the top level of a module; of a package, those of the modules that it imports, in order."""
    if module in seen:
        return
    seen.add(module)
    source = _source(module)
    for node in source.tree.body:
        if source.package and isinstance(node, ast.ImportFrom) and (origin := _origin(source, node)) is not None:
            for found in (f"{origin}.{alias.name}" for alias in node.names):
                yield from _calls(found if _is_module(found) else origin, name, seen)
        parts = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else [node]
        for part in parts:
            for call in (n for n in ast.walk(part) if isinstance(n, ast.Call)):
                if isinstance(call.func, ast.Name) and call.func.id == name:
                    yield source, call


def _bound(call: ast.Call, definition: ast.ClassDef | ast.FunctionDef, source: _Source) -> SimpleNamespace:
    """The plain arguments of a call by the names of its definition's parameters or fields, with their defaults."""
    given = dict(zip(_parameters(definition), call.args, strict=False))
    given |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
    found = SimpleNamespace()
    for name, default in _parameters(definition).items():
        value = given.pop(name, default)
        _keep(found, name, value, source)
    for name, value in given.items():
        _keep(found, name, value, source)
    return found


def _keep(found: SimpleNamespace, name: str, value: ast.expr | None, source: _Source) -> None:
    try:
        setattr(found, name, _value(value, source))
    except _UnknownError:
        return


def _parameters(definition: ast.ClassDef | ast.FunctionDef) -> dict[str, ast.expr | None]:
    if isinstance(definition, ast.ClassDef):
        fields = [n for n in definition.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        return {ast.unparse(n.target): n.value for n in fields}
    args = definition.args
    names = [a.arg for a in args.args]
    defaults = [None] * (len(names) - len(args.defaults)) + list(args.defaults)
    keywords = {a.arg: d for a, d in zip(args.kwonlyargs, args.kw_defaults, strict=True)}
    return {**dict(zip(names, defaults, strict=True)), **keywords}


def _value(node: ast.expr | None, source: _Source) -> Any:
    """The value of an expression of constants, of constants by name, and of texts made from them."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in source.values:
            return _value(source.values[name], source)
        case ast.Name(id=name) if name in source.imports and _is_module(source.imports[name][0]):
            module, original = source.imports[name]
            return _value(ast.Name(original), _source(module))
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            return tuple(_value(part, source) for part in parts)
        case ast.Dict(keys=keys, values=values):
            return {_value(k, source): _value(v, source) for k, v in zip(keys, values, strict=True)}
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left, source) + _value(right, source)
        case ast.JoinedStr(values=parts):
            return "".join(_value(part, source) for part in parts)
        case ast.FormattedValue(value=value, conversion=-1, format_spec=spec):
            return format(_value(value, source), "" if spec is None else _value(spec, source))
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in source.values:
            return getattr(_value(source.values[name], source), attribute)
        case ast.Call(func=ast.Name(id=name)) as call if isinstance(source.definitions.get(name), ast.ClassDef):
            return _bound(call, source.definitions[name], source)
    raise _UnknownError
