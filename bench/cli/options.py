"""Verbs from models: every field of a request becomes an option of the command, once.

Why a layer over typer, and not a library that reads models: pydantic-settings builds argparse parsers of its own (no
rich help, no ``--on/--off`` pairs), and tyro and cyclopts would replace typer, its help and its completion for all
verbs. What is missing to typer is small: a signature made from a model's fields. It is this file.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from ...model_errors import wrong_fields
from ...plugins import load_plugin
from ..host.errors import UsageError
from ..host.options import Flag, Options

M = TypeVar("M", bound=Options)
CONTEXT = "_context"


def command(model: type[M]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make ``body(request, …)`` a function with an option for every field of ``model``, as typer wants it.

    The request is made from what was given on the command line, so that defaults and checks are the model's. Further
    parameters of the body are options of the command alone. ``body(given, …)`` of a model whose fields may come from a
    file takes the mapping instead, where its first parameter is called ``given``.
    """

    def decorate(body: Callable[..., None]) -> Callable[..., None]:
        first, *others = inspect.signature(body, eval_str=True).parameters.values()
        lenient = first.name == "given"

        def verb(**values: Any) -> None:
            context: typer.Context = values.pop(CONTEXT)
            rest = {p.name: values.pop(p.name) for p in others}
            given = {name: value for name, value in values.items() if _was_given(context, name)}
            body(given if lenient else made(model, given), **rest)

        fields = {n: f for n, f in model.model_fields.items() if not _flag(f).hidden}
        parameters = [
            _keyword(CONTEXT, typer.Context, inspect.Parameter.empty),
            *(_parameter(name, field, lenient) for name, field in fields.items()),
            *(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in others),
        ]
        verb.__name__, verb.__doc__ = body.__name__, body.__doc__
        verb.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        verb.__annotations__ = {p.name: p.annotation for p in parameters}
        return verb

    return decorate


def made(model: type[M], given: Mapping[str, Any]) -> M:
    """The request of what the command line gave; ``UsageError`` calls wrong fields by their flags."""
    try:
        return model(**given)
    except ValidationError as error:
        flags = {name: _names(name, field)[0].split("/")[0] for name, field in model.model_fields.items()}
        raise UsageError("; ".join(wrong_fields(error, model, flags))) from None


def field_rows(model: type[Options]) -> list[tuple[str, str, str, str]]:
    """Of every field of a request: its name in YAML and Python, its flag (or none), its default, what it means."""
    rows = []
    for name, field in model.model_fields.items():
        flag = "" if _flag(field).hidden else _names(name, field)[0]
        default = "required" if field.is_required() else _default_text(field)
        rows.append((name, flag, default, field.description or ""))
    return rows


def _default_text(field: FieldInfo) -> str:
    # What a factory makes depends on the machine; the description says what it is.
    value = field.default
    empty = field.default_factory is not None or value is None or value == ()
    return "" if empty else ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT", "PROMPT")


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _parameter(name: str, field: FieldInfo, lenient: bool) -> inspect.Parameter:
    flag, kind = _flag(field), _shown_type(field.annotation)
    limits: dict[str, Any] = {}
    for mark in field.metadata if not flag.text else ():
        if isinstance(mark, Ge):
            limits["min"] = mark.ge
        elif isinstance(mark, Le):
            limits["max"] = mark.le
    texts: dict[str, Any] = {"help": field.description, "metavar": flag.metavar, **limits}
    make: Any = typer.Argument if flag.argument else partial(typer.Option, *_names(name, field))
    made = make(**texts)
    default = field.default
    if flag.text:
        kind = str
    if flag.joined:
        kind, default = str, ",".join(value if isinstance(value, str) else f"{value:g}" for value in default) or None
    if default is PydanticUndefined and field.default_factory is None and not lenient:
        return _keyword(name, Annotated[kind, made], inspect.Parameter.empty)
    if default is PydanticUndefined or default is None or isinstance(default, tuple | Mapping):
        # What a model makes by itself, or what is empty, has nothing to show.
        return _keyword(name, Annotated[kind | None, made], None)
    return _keyword(name, Annotated[kind, made], default)


def _names(name: str, field: FieldInfo) -> tuple[str, ...]:
    flag = "--" + name.replace("_", "-")
    names = _flag(field).names or ((f"{flag}/--no-{name.replace('_', '-')}",) if _is_switch(field) else (flag,))
    return tuple(names)


def _is_switch(field: FieldInfo) -> bool:
    return _plain(field.annotation) is bool


def _flag(field: FieldInfo) -> Flag:
    return next((mark for mark in field.metadata if isinstance(mark, Flag)), Flag())


def _plain(annotation: Any) -> Any:
    """A type without ``None``, and without what ``Annotated`` adds."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return _plain(rest[0]) if len(rest) == 1 else annotation
    return _plain(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _shown_type(annotation: Any) -> Any:
    """The type that typer reads from the command line; the model makes its own of it."""
    plain = _plain(annotation)
    origin = get_origin(plain)
    if origin is tuple:
        return list[_shown_type(get_args(plain)[0])]  # type: ignore[misc]
    if origin is dict:
        return list[str]
    return str if origin is Literal else plain


def load_plugins(files: tuple[Path, ...] | list[Path] | None) -> None:
    """Run the files of ``--plugin``, so that what they register is there; raises as ``load_plugin``."""
    for file in files or ():
        load_plugin(file)
