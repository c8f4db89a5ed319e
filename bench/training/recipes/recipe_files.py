"""Recipes by name: the YAML files that ship in ``bench/training/recipes``, and the user's own; ``extends`` inherits."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from ....home import expanded
from ....model_errors import wrong_fields
from ...host.errors import UsageError
from ...host.yaml_mapping import yaml_mapping
from .recipe import Kind, Recipe

R = TypeVar("R", bound=Recipe)
_SHORT = {"cub": "cub", "stanford_cars": "cars", "imagenet": "imagenet", "openimages30k": "openimages"}
"""Data set -> its name in recipe names."""


def recipe_names(kind: Kind) -> list[str]:
    """Names of the recipes of a kind that ship with the package."""
    prefix = f"{kind}-"
    entries = (e.name for e in _folder().iterdir())
    return sorted(n.removeprefix(prefix).removesuffix(".yaml") for n in entries if n.startswith(prefix))


def load_recipe(model: type[R], name: str) -> R:
    """The recipe of the kind of ``model`` that ships under ``name``, or that the YAML file ``name`` holds.

    A recipe may say ``extends: OTHER`` (a shipped name, or a file beside it): it has OTHER's fields, except those that
    it gives itself; mappings are merged field by field.

    Raises:
        UsageError: No such recipe or file, a circle of ``extends``, or fields unknown, missing or out of range.
    """
    content, where = _read(model.kind, name, None, ())
    try:
        return model(**content)
    except ValidationError as error:
        raise UsageError(f"recipe {where}: {'; '.join(wrong_fields(error, model))}") from None


def auto_recipe(dataset: str) -> str:
    """Head recipe that ``auto`` stands for: the embedded benchmark's own, the published schedule elsewhere."""
    return "synthbirds" if dataset == "synthbirds" else "paper"


def backbone_recipe_name(dataset: str, network: str) -> str:
    """Recipe of a network of the paper on a data set of the paper: its own, else the data set's.

    Raises:
        UsageError: No recipe ships for the data set.
    """
    known = recipe_names("backbone")
    short = _SHORT.get(dataset, dataset)
    for name in (f"{short}-{network.removesuffix('_28')}", short):
        if name in known:
            return name
    raise UsageError(f"no backbone recipe ships for {dataset}; known: {', '.join(known)}")


def _folder() -> Traversable:
    return files(__package__)


def _read(kind: Kind, name: str, beside: Path | None, seen: tuple[str, ...]) -> tuple[dict[str, Any], str]:
    """Fields of a recipe with those that it inherits, and where they come from."""
    text, where, folder = _text(kind, name, beside)
    if where in seen:
        raise UsageError(f"recipe {where} extends itself: {' -> '.join((*seen, where))}")
    content = yaml_mapping(text, f"recipe {where}")
    parent = content.pop("extends", None)
    if parent is None:
        return content, where
    base, _ = _read(kind, str(parent), folder, (*seen, where))
    return _merged(base, content), where


def _merged(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    both = {k: _merged(base[k], v) for k, v in own.items() if isinstance(v, dict) and isinstance(base.get(k), dict)}
    return {**base, **own, **both}


def _text(kind: Kind, name: str, beside: Path | None) -> tuple[str, str, Path | None]:
    """Text of a recipe, what to call it in messages, and the folder of a user's file."""
    known = recipe_names(kind)
    if name in known:
        return (_folder() / f"{kind}-{name}.yaml").read_text(encoding="utf-8"), repr(name), None
    file = expanded(name)
    if file.suffix not in (".yaml", ".yml"):
        raise UsageError(f"unknown {kind} recipe {name!r}; known: {', '.join(known)}, or a file ending in .yaml")
    if beside is not None:
        file = beside / file
    if not file.is_file():
        raise UsageError(f"{kind} recipe {file}: no such file; shipped recipes: {', '.join(known)}")
    try:
        return file.read_text(encoding="utf-8"), str(file), file.parent
    except UnicodeDecodeError as error:
        raise UsageError(f"recipe {file}: not text: {error}") from None
