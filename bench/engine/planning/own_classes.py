"""Labels of people's own pictures in the classes of the network that reads them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ....baselines.contracts import Backbone
from ....datasets.formats import imagenet_class_names, plain_name
from ....datasets.schema import SampleTable
from ....protocol import Protocol
from ...host.errors import RunError, UsageError


def in_classes_of(table: SampleTable, networks: Iterable[Backbone]) -> SampleTable:
    """The table with the networks' class names where they alone know them; the labels follow their names.

    Pictures without labels get names for what is predicted; labels that are names of a network's own classes
    (``labels=network``) become its indices. Other tables stay as they are.

    Raises:
        RunError: Labels that are no class of a network; networks whose classes differ.
    """
    if "label_space" not in table.facts:
        return table
    names = {n.class_names or _known(n.num_classes) for n in networks}
    why = table.facts.get("label_names")
    if why is None or not names:
        return replace(table, class_names=names.pop()) if len(names) == 1 and () not in names else table
    if len(names) > 1 or () in names:
        many = (
            "the networks have other classes than one another" if len(names) > 1 else "the network has no class names"
        )
        raise RunError(f"{why}; and {many}: give cambench.wrap its class_names, or pass --option labels=none")
    [known] = names
    index = {plain_name(name): i for i, name in enumerate(known)}
    lost = [name for name in table.class_names if plain_name(name) not in index]
    if lost:
        shown = f"{', '.join(map(repr, lost[:5]))}; it has {', '.join(known[:5])}{', …' if len(known) > 5 else ''}"
        raise RunError(f"{why}; the network's own classes lack {shown}. --option labels=none goes without labels")
    of_label = [index[plain_name(name)] for name in table.class_names]
    labels = [of_label[label] for label in table.rows["label"][:]]
    rows = table.rows.remove_columns("label").add_column("label", labels)
    return replace(table, rows=rows, class_names=known)


def protocol_of(table: SampleTable, protocol: Protocol) -> Protocol:
    """The protocol for these data: where an image has a row for each of its classes, each row's class is drawn.

    Raises:
        UsageError: The protocol draws the maps of labels that there are not.
    """
    if not table.labelled and protocol.target == "label":
        raise UsageError(
            f"protocol {protocol.name} draws the map of each picture's label, and these pictures have none; choose one "
            "that draws the predicted class, as paper does"
        )
    return protocol.of_labels() if table.class_rows else protocol


def _known(count: int) -> tuple[str, ...]:
    names = imagenet_class_names()
    return tuple(names) if count == len(names) else ()
