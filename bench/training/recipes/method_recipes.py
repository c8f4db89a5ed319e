"""Recipes of WSOL methods: that of a network on a data set, with what the method changes in it.

``cub-vgg16_gap`` and the method ``adl`` give the recipe ``cub-vgg16_gap+adl``. The values that differ stand in one
file, ``recipes/wsol-methods.yaml``, with their sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml

from ....baselines.wsol import PLAIN, WSOL
from ...host.errors import UsageError
from ...host.yaml_mapping import yaml_mapping
from .recipe import BackboneRecipe
from .recipe_files import load_recipe, recipe_names

OURS = "synthbirds"
"""The data set whose values are nobody's but ours."""


def method_recipe(recipe: str, method: str | None = None, suffix: str = PLAIN) -> BackboneRecipe:
    """The recipe of a name, with a method.

    Args:
        recipe: A shipped name or a YAML file; ``NAME+adl`` is ``NAME`` with the method adl.
        method: ``adl``, or ``adl,drop_rate=0.5,threshold=0.8``; None: the recipe's own, or that of the suffix.
        suffix: The method that the network's name asks for (``vgg16_gap+adl``); ``cam``: none.

    Raises:
        UsageError: Two methods are asked for, or a parameter is not NAME=VALUE.
        UnknownNameError: No such method.
    """
    base, plus, named = recipe.rpartition("+")
    if not plus or named not in WSOL:
        base, named = recipe, PLAIN
    chosen = load_recipe(BackboneRecipe, base)
    name, given = parsed_method(method) if method is not None else (PLAIN, {})
    asked = list(dict.fromkeys(m for m in (name, named, suffix) if m != PLAIN))
    if len(asked) > 1 or (method is not None and name == PLAIN and asked):
        raise UsageError(f"--method {method}, --recipe {recipe}, a network with +{suffix}: choose one method")
    if not asked:
        return chosen if method is None else with_method(chosen, {"name": PLAIN}, chosen.name, chosen.source)
    WSOL.get(asked[0])
    if not chosen.epochs:
        # The recipe takes public weights as they are; its tuned version trains the same network.
        tuned = f"{base}-tuned"
        if tuned not in recipe_names("backbone"):
            raise UsageError(f"recipe {base} trains nothing, so no method can be applied; choose one that trains")
        chosen = load_recipe(BackboneRecipe, tuned)
    found, source = _published(chosen, asked[0])
    own = chosen.method if chosen.method_name == asked[0] else {}
    rate = found.pop("lr", None)
    way = {**found, **own, **given, "name": asked[0]}
    return with_method(chosen, way, f"{chosen.name}+{asked[0]}", f"{chosen.source.strip()} {source}", rate)


def with_method(
    recipe: BackboneRecipe, method: Mapping[str, Any], name: str, source: str, rate: float | None = None
) -> BackboneRecipe:
    """A recipe with a method (name and parameters) and, where given, a learning rate; checked again."""
    fields = {**recipe.model_dump(), "method": dict(method), "name": name, "source": source}
    if rate is not None:
        fields["optimiser"] = {**fields["optimiser"], "lr": rate}
    return BackboneRecipe(**fields)


def parsed_method(text: str) -> tuple[str, dict[str, Any]]:
    """Name and parameters of ``adl,drop_rate=0.5``; UsageError where a part is not NAME=VALUE."""
    name, *rest = (part.strip() for part in text.split(","))
    WSOL.get(name)
    given = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not (key and equals and value):
            raise UsageError(f"--method {text!r}: {part!r} is not NAME=VALUE")
        given[key.strip()] = yaml.safe_load(value)
    return name, given


def _published(recipe: BackboneRecipe, method: str) -> tuple[dict[str, Any], str]:
    """Rate and parameters that were found for a method, and where they come from."""
    values = _values()
    sources: dict[str, str] = {k: " ".join(v.split()) for k, v in values["sources"].items()}
    data, _, network = recipe.name.partition("-")
    found = dict(values.get(data, {}).get(network, {}).get(method, {}))
    if not found:
        published = data in ("cub", "imagenet", "openimages") and network
        return {}, f"With {method}: " + (sources["unknown"] if published else "the method's default parameters.")
    if data == OURS:
        return found, f"Parameters of {method}: {sources['ours']}"
    large = sources["large_map"] if found.pop("large_map", False) else ""
    return found, f"Rate and parameters of {method}: {sources['found']} {large}".strip()


def _values() -> dict[str, Any]:
    text = (files(__package__) / "wsol-methods.yaml").read_text(encoding="utf-8")
    return yaml_mapping(text, "recipes/wsol-methods.yaml")
