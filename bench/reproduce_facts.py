"""What a file of a reproduction must have been made from, so that an old one is never taken for another request's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..datasets.schema import SampleTable
from .errors import UsageError
from .recipe import BackboneRecipe


def network_facts(table: SampleTable, recipe: BackboneRecipe, seed: int) -> dict[str, object]:
    """Of a trained network: its data, recipe and seed."""
    return {"data_fingerprint": table.fingerprint, "recipe_digest": recipe.digest, "seed": str(seed)}


def check_same(file: Path, facts: Mapping[str, object], found: Mapping[str, object]) -> None:
    """UsageError where ``file`` was trained with other data, another recipe or another seed."""
    for key, wanted in facts.items():
        if found.get(key) != wanted:
            raise UsageError(
                f"{file} was trained with another {key} ({found.get(key)}, now {wanted}); choose another --out, "
                "or delete the file to train it again"
            )
