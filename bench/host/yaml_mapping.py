"""A YAML mapping of named fields, read from text that anybody may have written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...yaml_keys import repeated_key
from .errors import UsageError

if TYPE_CHECKING:
    import yaml


def yaml_mapping(text: str, where: str) -> dict[str, Any]:
    """The mapping that ``text`` spells; ``where`` names the file in messages (``configuration run.yaml``).

    Raises:
        UsageError: The text is not YAML or not a mapping; a key is not text; a key is given twice, at any depth; a
            value cannot be read (a date such as 2020-13-45, a number of thousands of digits) or is nested too deeply.
            The message has the line and the key.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UsageError(f"{where}: expected a mapping of fields, found {_kind(node)}")
        twice = repeated_key(node)
        loader.flatten_mapping(node)
    except yaml.YAMLError as error:
        raise UsageError(f"{where}: not YAML: {error}") from None
    except RecursionError:
        raise UsageError(f"{where}: not YAML that can be read: lists or mappings are nested too deeply") from None
    if twice is not None:
        raise UsageError(f"{where}, line {twice[1]}: {twice[0]} is given twice")
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = f"{where}, line {key_node.start_mark.line + 1}"
        key = _key(key_node, line)
        try:
            found[key] = loader.construct_object(value_node, deep=True)
        except yaml.YAMLError as error:
            raise UsageError(f"{line}: {key}: not YAML: {error}") from None
        except RecursionError:
            raise UsageError(f"{line}: {key}: lists or mappings are nested too deeply") from None
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{line}: {key}: {error}; put quotes around what is meant as text") from None
    return found


def _key(node: yaml.Node, line: str) -> str:
    """The name of a field; ``UsageError`` where a key is anything else than text."""
    if node.tag == "tag:yaml.org,2002:str" and isinstance(node.value, str):
        return node.value
    shown = node.value if isinstance(node.value, str) else _kind(node)
    raise UsageError(f"{line}: the key {shown} is not the name of a field; put quotes around a name")


def _kind(node: yaml.Node | None) -> str:
    if node is None:
        return "nothing"
    return {"seq": "a list", "map": "a mapping"}.get(node.tag.rpartition(":")[2], "one value")
