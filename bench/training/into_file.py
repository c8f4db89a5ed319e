"""A network trained into a file, as one step of something larger: done where the file is there, else resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...baselines.weights import load_metadata
from ...datasets.schema import SampleTable
from .backbone import EpochDone, open_for_training, train_backbone
from .checkpoint import save_network
from .facts import check_same, network_facts
from .means import Means
from .recipes.recipe import BackboneRecipe


def train_into(
    file: Path,
    name: str,
    table: SampleTable,
    recipe: BackboneRecipe,
    means: Means,
    *,
    seed: int,
    weights: Path | None = None,
    epoch_done: EpochDone | None = None,
) -> None:
    """Train the network ``name`` by a recipe into ``file``; the state of an interrupted training lies beside it.

    Args:
        file: Checkpoint; what it was made from must agree where it is there.
        name: Network, with its method's suffix or without.
        table: Training split. recipe: Everything that shapes the training.
        means: With what it is done; the bar and the state file are chosen here.
        seed: Of the first parameters, and of the training.
        weights: File of weights to start from.
        epoch_done: As in ``train_backbone``.

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
    means = replace(means, progress=True, state_file=state_file)
    record = train_backbone(network, table, recipe, means, seed=seed, epoch_done=epoch_done)
    save_network(file, network, {**facts, "record": record.model_dump(mode="json")})
    state_file.unlink(missing_ok=True)
