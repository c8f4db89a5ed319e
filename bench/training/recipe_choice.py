"""The recipe that a request for a network's training asks for, and what the recipe adds to the request."""

from __future__ import annotations

from typing import TypeVar

from ...plugins import load_plugin
from ..host.errors import UsageError
from .recipes.recipe import BackboneRecipe
from .recipes.recipe_files import backbone_recipe_name, load_recipe
from .request import RecipeOptions, changed

R = TypeVar("R", bound=RecipeOptions)


def with_recipe(request: R) -> tuple[R, BackboneRecipe]:
    """The request with the network, data set and recipe that it leaves open, and the recipe itself.

    Raises:
        UsageError: Something is left open by both, or two methods are asked for. UnknownNameError: No such method.
    """
    recipe = request.recipe
    if recipe == "auto":
        if not (request.backbone and request.dataset):
            raise UsageError("give --recipe NAME, or --backbone and --dataset for the paper's own recipe")
        recipe = backbone_recipe_name(request.dataset, request.backbone.partition("+")[0])
    chosen = changed(_recipe_of(request, recipe), accumulate=request.accumulate, dtype=request.dtype)
    found = {
        "backbone": request.backbone or chosen.network, "dataset": request.dataset or chosen.dataset, "recipe": recipe
    }  # fmt: skip
    for name, value in found.items():
        if not value:
            raise UsageError(f"recipe {recipe} is for any {name}: give --{name}")
    return request.model_copy(update=found), chosen


def _recipe_of(request: RecipeOptions, recipe: str) -> BackboneRecipe:
    """The recipe, with the method that the request, its own name or the network's suffix asks for, and its pooling."""
    if request.method is None and "+" not in recipe + request.backbone:
        return load_recipe(BackboneRecipe, recipe)
    # Only suffixes and methods need the networks' library before the data is checked.
    from ...baselines.wsol import TAP, split_name
    from .recipes.method_recipes import method_recipe

    for file in request.plugins:
        load_plugin(file)
    base, method = split_name(request.backbone)
    chosen = method_recipe(recipe, request.method, method)
    with_tap = base.endswith(f"+{TAP}") and chosen.pooling.kind != TAP
    return changed(chosen, pooling={"kind": TAP}) if with_tap else chosen
