"""Keys that a YAML mapping has twice, of which YAML's reader keeps the last without a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml


def repeated_key(node: yaml.Node | None) -> tuple[str, int] | None:
    """The first key, and its line from 1, that occurs again in its mapping, here or at any depth; None without one.

    Raises:
        RecursionError: The document is nested too deeply.
    """
    return _repeated(node, set())


def _repeated(node: yaml.Node | None, seen: set[int]) -> tuple[str, int] | None:
    import yaml

    # What an anchor names is looked at once, however often it is used.
    if node is None or id(node) in seen or isinstance(node, yaml.ScalarNode):
        return None
    seen.add(id(node))
    children = node.value
    if isinstance(node, yaml.MappingNode):
        keys: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in keys:
                    return key.value, key.start_mark.line + 1
                keys.add((key.tag, key.value))
        children = [value for _, value in node.value]
    return next((found for child in children if (found := _repeated(child, seen)) is not None), None)
