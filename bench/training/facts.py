"""What a file of a reproduction must have been made from, so that an old one is never taken for another request's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ...baselines.weights import load_metadata
from ...datasets.schema import SampleTable
from ..host.errors import UsageError
from .recipes.recipe import BackboneRecipe, HeadRecipe


def network_facts(table: SampleTable, recipe: BackboneRecipe, seed: int) -> dict[str, object]:
    """Of a trained network: its data, recipe and seed."""
    return {"data_fingerprint": table.fingerprint, "recipe_digest": recipe.digest, "seed": str(seed)}


def head_facts(table: SampleTable, recipe: HeadRecipe, seed: int) -> dict[str, object]:
    """Of a trained sigmoid branch; ``features_sha256`` of its record is known only once the network is there."""
    return {"data_fingerprint": table.fingerprint, "recipe_digest": recipe.digest, "seed": seed}


def head_record(file: Path) -> dict[str, object]:
    """Training record of a head's file; empty where it has none."""
    found: dict[str, object] = json.loads(load_metadata(file).get("record", "{}"))
    return found


def check_same(file: Path, facts: Mapping[str, object], found: Mapping[str, object]) -> None:
    """UsageError where ``file`` was trained with other data, another recipe or another seed."""
    for key, wanted in facts.items():
        if found.get(key) != wanted:
            raise UsageError(
                f"{file} was trained with another {key} ({found.get(key)}, now {wanted}); choose another --out, "
                "or delete the file to train it again"
            )
