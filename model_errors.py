"""What is wrong with the fields of a Pydantic model, in words for people."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def wrong_fields(error: ValidationError, model: type[BaseModel], flags: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong with each field, in a sentence each; ``flags``: what fields are called on the command line."""
    lines, flags = [], flags or {}
    for found in error.errors():
        place = [str(part) for part in found["loc"]]
        where = ".".join([flags.get(place[0], place[0]), *place[1:]]) if place else ""
        message = found["msg"].removeprefix("Value error, ")
        if not where:
            lines.append(message)
        elif found["type"] == "extra_forbidden":
            near = difflib.get_close_matches(str(found["loc"][-1]), model.model_fields, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(model.model_fields)}"
            lines.append(f"{where}: no such field; {hint}")
        elif found["type"] == "missing":
            lines.append(f"{where}: missing")
        elif found["type"] == "string_pattern_mismatch":
            field = model.model_fields.get(place[0])
            like = ", ".join(map(str, (field.examples if field else None) or ())) or message
            lines.append(f"{where} {found['input']!r}: expected {like}")
        elif found["type"] == "literal_error":
            lines.append(f"{where} {found['input']!r}: expected {found['ctx']['expected']}")
        else:
            lines.append(f"{where} {message}" if message.startswith("'") else f"{where}: {message}")
    return lines


def no_switch(model: type[BaseModel], field: str | None, value: Any) -> Any:
    """The value of a field, to be checked before its type is; Pydantic takes YAML's ``yes`` for the number 1.

    Raises:
        ValueError: It is a truth value where a number belongs.
    """
    known = model.model_fields.get(field or "")
    if isinstance(value, bool) and known is not None:
        kinds = _kinds(known.annotation)
        if bool not in kinds and kinds & {int, float}:
            raise ValueError(f"{'yes' if value else 'no'} is no number")
    return value


def _kinds(annotation: Any) -> set[Any]:
    """The types that an annotation names."""
    inner = get_args(annotation)
    return {annotation} if not inner else set().union(*map(_kinds, inner))
