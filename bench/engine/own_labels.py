"""People's own pictures of classes that the networks have not, where there is nothing to train a head on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ...baselines.contracts import Backbone
from ...datasets.schema import DATASETS, DatasetError, SampleTable
from ..host.errors import RunError, UsageError
from .again import SETTLED
from .networks import has_train_split
from .planning.config import RunConfig
from .planning.own_classes import in_classes_of

_OPTION = "labels"
Networks = dict[str, Backbone]


def without_training(
    config: RunConfig, table: SampleTable, networks: Networks, opened: Callable[[str, SampleTable], Backbone]
) -> tuple[SampleTable, Networks]:
    """Table and networks of a run whose softmax heads would all have to be trained on a split that there is not.

    Labels that are names of the networks' own classes are read as these; others are not read. The table's last note
    says which. Where the user chose what labels are, or heads can be trained or are given, all stays as it is.

    Args:
        config: The request. table: Its split. networks: By name, with the table's classes.
        opened: Name and table -> the network, opened.

    Raises:
        As ``opened`` and ``DataSource.open``.
    """
    chosen = _OPTION in config.options or _OPTION not in DATASETS.get(config.dataset).options
    settled = chosen or "label_space" in table.facts or config.softmax_weights
    if settled or not networks or not all(n.needs_training for n in networks.values()) or has_train_split(config):
        return table, networks

    def read_as(kind: str) -> tuple[SampleTable, Networks]:
        found = replace(config.source, options={**config.options, _OPTION: kind}).open().head(config.limit)
        others = {name: opened(name, found) for name in networks}
        in_classes_of(found, others.values())
        return replace(found, facts={**found.facts, SETTLED: {_OPTION: kind}}), others

    known = True
    try:
        found, others = read_as("network")
    except (DatasetError, UsageError, RunError):
        known = False
        found, others = read_as("none")
    if any(n.needs_training for n in others.values()):
        return table, networks
    return replace(found, notes=(*found.notes, _said(table, known))), others


def _said(table: SampleTable, known: bool) -> str:
    names = ", ".join([*map(repr, table.class_names[:5]), *["…"] * (len(table.class_names) > 5)])
    why = f"no train split to train a head of these {table.num_classes} classes on ({names})"
    if known:
        return f"{why}: they are read as the network's own (as --option labels=network does)"
    return (
        f"{why}, and the network has other classes: labels are not read, the predicted class is drawn, and nothing is "
        "scored against labels (as --option labels=none does)"
    )
