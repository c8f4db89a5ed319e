"""What a search draws, and the draw of a trial: a function of the search's seed and the trial's number alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...baselines.wsol import WSOL, WsolMethod
from ..host.errors import UsageError
from ..training.recipes.method_recipes import with_method
from ..training.recipes.recipe import BackboneRecipe

LR = "lr"
Values = dict[str, float | int]
Ranges = dict[str, tuple[float | int, float | int | str]]
"""Parameter -> lowest and highest value; the highest may be a parameter's name (``WsolMethod.search``)."""


def space_of(method: type[WsolMethod], rates: tuple[float, float], fixed: Mapping[str, Any]) -> Ranges:
    """The learning rate and the method's searched parameters, without those that are fixed, in the order of draws."""
    return {LR: rates, **{name: ends for name, ends in method.search.items() if name not in fixed}}


def drawn(space: Ranges, seed: int, number: int, fixed: Mapping[str, Any]) -> Values:
    """Values of trial ``number``: rates evenly in their logarithm, all others evenly.

    Each trial has a sampler of its own, so its values do not depend on who draws, in which order, or how often.

    Args:
        space: From ``space_of``. seed: The search's. number: The trial's, from 0.
        fixed: Values of parameters that are not drawn, where a range ends at one of them.
    """
    digest = hashlib.sha256(f"{seed}:{number}".encode()).digest()
    with quiet_optuna() as optuna:
        sampler = optuna.samplers.RandomSampler(seed=int.from_bytes(digest[:4], "big"))
        trial = optuna.create_study(sampler=sampler).ask()
        values: Values = {}
        for name, (low, end) in space.items():
            high = {**fixed, **values}[end] if isinstance(end, str) else end
            whole = isinstance(low, int) and isinstance(high, int)
            values[name] = (
                trial.suggest_int(name, int(low), int(high))
                if whole
                else trial.suggest_float(name, low, high, log=name == LR)
            )
    return values


def recipe_with(recipe: BackboneRecipe, values: Mapping[str, Any], name: str, source: str) -> BackboneRecipe:
    """The recipe with a trial's values."""
    rest = {key: value for key, value in values.items() if key != LR}
    return with_method(recipe, {**recipe.method, **rest}, name, source, float(values[LR]))


def shown_range(name: str, ends: tuple[float | int, float | int | str]) -> str:
    """A range in words."""
    low, high = (end if isinstance(end, str) else f"{end:g}" for end in ends)
    return f"{name} from {low} to {high}" + (" (evenly in the logarithm)" if name == LR else "")


def method_class(recipe: BackboneRecipe) -> type[WsolMethod]:
    """The method that a recipe trains with."""
    return WSOL.get(recipe.method_name)


@contextmanager
def quiet_optuna() -> Iterator[Any]:
    """Optuna, which says nothing of the studies that are made meanwhile; UsageError where it is not installed."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise UsageError("Optuna is not installed: pip install 'cambench[search]'") from None
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield optuna
    finally:
        optuna.logging.set_verbosity(level)
