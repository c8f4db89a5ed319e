"""A YAML mapping of named fields, read from text that anybody may have written."""

from __future__ import annotations

from typing import Any

import yaml

from .errors import UsageError


def yaml_mapping(text: str, where: str) -> dict[str, Any]:
    """The mapping that ``text`` spells; ``where`` names the file in messages.

    Raises:
        UsageError: The text is not YAML, holds a value that does not exist (a date such as 2020-13-45), is nested too
            deeply, is not a mapping, or has a key that is not a name.
    """
    try:
        content = yaml.safe_load(text)
    except RecursionError:
        raise UsageError(f"{where}: not YAML that can be read: lists or mappings are nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{where}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{where}: expected a mapping of fields, found {type(content).__name__}")
    for key in content:
        if not isinstance(key, str):
            raise UsageError(f"{where}: the key {key!r} is not the name of a field; names are text")
    return content
