"""What a user gives for an option, as the value that its field holds; what is none is left to the field's own check."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def named_files(value: Any) -> Any:
    """Files by name from ``NAME=FILE`` texts; a bare ``FILE`` goes by the name ``*``."""
    if isinstance(value, str | Path):
        value = [value]
    if not isinstance(value, list | tuple):
        return value
    files: dict[str, Any] = {}
    for item in value:
        name, equals, file = str(item).partition("=")
        files[name if equals else "*"] = file if equals else item
    return files


def pairs(value: Any) -> Any:
    """A mapping from ``key=value`` texts."""
    if not isinstance(value, list | tuple):
        return value
    found: dict[str, str] = {}
    for pair in value:
        key, equals, rest = str(pair).partition("=")
        if not (equals and key):
            raise ValueError(f"{str(pair)!r}: expected key=value")
        found[key] = rest
    return found


def patterns(value: Any) -> Any:
    """Patterns from one text, or several, with spaces between them."""
    values = [value] if isinstance(value, str) else value
    return tuple(p for v in values for p in str(v).split()) if isinstance(values, list | tuple) else value


def split(value: Any) -> Any:
    """Words from one text with commas between them."""
    return tuple(filter(None, (part.strip() for part in value.split(",")))) if isinstance(value, str) else value


def auto(value: Any) -> Any:
    """0, which stands for it, from ``auto``."""
    if isinstance(value, str) and value != "auto" and not value.strip().lstrip("+-").isdigit():
        raise ValueError(f"{value!r}: expected a number or auto")
    return 0 if value == "auto" else value
