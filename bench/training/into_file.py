"""A network trained into a file, as one step of something larger: done where the file is there, else resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...baselines.weights import load_metadata
from ...datasets.schema import SampleTable
from .backbone import open_for_training, train_backbone
from .checkpoint import save_network
from .facts import check_same, network_facts
from .recipes.recipe import BackboneRecipe


def train_into(
    file: Path,
    name: str,
    table: SampleTable,
    recipe: BackboneRecipe,
    device: str,
    *,
    seed: int,
    weights: Path | None = None,
    **options: Any,
) -> None:
    """Train the network ``name`` by a recipe into ``file``; the state of an interrupted training lies beside it.

    Args:
        file: Checkpoint; what it was made from must agree where it is there.
        name: Network, with its method's suffix or without.
        table: Training split. recipe: Everything that shapes the training. device: Where to compute.
        seed: Of the first parameters, and of the training.
        weights: File of weights to start from.
        **options: Further ones of ``train_backbone``.

    Raises:
        UsageError: ``file`` was made from other data, another recipe or seed. Otherwise as ``train_backbone``.
    """
    facts = network_facts(table, recipe, seed)
    if file.is_file():
        check_same(file, facts, load_metadata(file))
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    network = open_for_training(name, table.num_classes, recipe, weights, seed)
    state_file = file.with_suffix(".training")
    record = train_backbone(network, table, recipe, device, True, seed=seed, state_file=state_file, **options)
    save_network(file, network, {**facts, "record": record.model_dump(mode="json")})
    state_file.unlink(missing_ok=True)
