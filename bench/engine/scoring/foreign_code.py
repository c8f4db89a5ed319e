"""Identity of the user's code: of a function, what its file says and it can reach."""

from __future__ import annotations

import ast
import hashlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path


def foreign_code(function: Callable[..., object]) -> str:
    """SHA-256 of the code of a user's function; empty for our own, which the code version covers.

    Of the function's file what the function reaches by name, and what runs as the file is loaded; other functions
    and classes of the file and their registrations are left out, so that a repaired one is computed anew alone.
    """
    if function.__module__.startswith(f"{__package__.partition('.')[0]}."):
        return ""
    try:
        source = Path(inspect.getfile(function)).read_bytes()
    except (TypeError, OSError):
        code = getattr(function, "__code__", None)
        source = code.co_code if code is not None else repr(function).encode()
    else:
        source = _reached(source, getattr(function, "__qualname__", "").partition(".")[0])
    return hashlib.sha256(source).hexdigest()


def _reached(source: bytes, name: str) -> bytes:
    """The lines of the top-level statements that ``name`` depends on; the whole file where it is defined elsewhere."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return source
    definitions = [s for s in body if isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)]
    if name not in {d.name for d in definitions}:
        return source
    kept = [s for s in body if s not in definitions and not _is_inert(s)]
    names = {name}.union(*map(_names, kept))
    while more := [d for d in definitions if d not in kept and d.name in names]:
        kept += more
        names = names.union(*map(_names, more))
    lines = source.splitlines()
    return b"\n".join(line for s in body if s in kept for line in lines[_first(s) - 1 : s.end_lineno])


def _is_inert(statement: ast.stmt) -> bool:
    """A docstring, or the registration of something by a call."""
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    if isinstance(value, ast.Call):
        called = value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")
        return called.startswith("register_")
    return isinstance(value, ast.Constant)


def _names(statement: ast.stmt) -> Iterator[str]:
    return (node.id for node in ast.walk(statement) if isinstance(node, ast.Name))


def _first(statement: ast.stmt) -> int:
    """First line of a statement, decorators included."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(d.lineno for d in decorators)])
