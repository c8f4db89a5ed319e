"""The table of trained WSOL methods as rows of triples: what ``cambench reproduce wsol`` plans and compares."""

from __future__ import annotations

import pandas as pd

from ...baselines.wsol import PLAIN, WSOL
from ...results.paper import published_wsol
from ..host.errors import UsageError
from ..maps import MAPS
from .requests import FEW_SHOT, TRIAL, Reproduction

CENTER = "center"
METHODS = ("cam", "has", "acol", "spg", "adl", "cutmix")
"""The trained methods of the table, in its order."""
STAND_IN = "cub"
"""Whose published values stand beside those of the trial on synthbirds."""


def few_shot_maps(network: str) -> str:
    """Name of the maps that a network's few-shot baseline draws."""
    return f"{FEW_SHOT}-{network}"


def wsol_rows(request: Reproduction) -> pd.DataFrame:
    """One row a data set, network and map that the table compares, in its order.

    Returns:
        Columns dataset, as_published (the data set whose published values stand beside it), network (of the table),
        method, backbone (with the method's suffix; ``maps`` for the few-shot baseline), cam, head, metric, own (the
        map by which the table reads the method; the others are there for the sigmoid branch's change).

    Raises:
        UsageError: A method or network that the table does not have.
    """
    for method in request.methods:
        if method not in METHODS:
            raise UsageError(f"--method {method}: wsol has {', '.join(METHODS)}")
    published = published_wsol()
    cells = published[["dataset", "network", "metric"]].drop_duplicates()
    for name in request.networks:
        if name not in (known := list(dict.fromkeys(cells["network"]))):
            raise UsageError(f"--network {name}: wsol has {', '.join(known)}")
    if request.networks:
        cells = cells[cells["network"].isin(request.networks)]
    cells = cells.assign(as_published=cells["dataset"])
    if request.on_trial:
        cells = cells[cells["dataset"] == STAND_IN].assign(dataset=TRIAL)
    rows = []
    for _, given in cells.iterrows():
        cell = {str(name): value for name, value in given.items()}
        network = str(cell["network"])
        # CAM is what the others are compared with.
        for method in [m for m in METHODS if m == PLAIN or m in (request.methods or METHODS)]:
            trained = network if method == PLAIN else f"{network}+{method}"
            own = WSOL.get(method).cam
            for cam, head in dict.fromkeys([(own, "softmax"), ("cam", "softmax"), ("cam", "sigmoid")]):
                facts = {"method": method, "backbone": trained, "cam": cam, "head": head}
                rows.append({**cell, **facts, "own": (cam, head) == (own, "softmax")})
        for method, backbone, cam in (
            (FEW_SHOT, MAPS, few_shot_maps(request.substitute(network))),
            (CENTER, network, CENTER),
        ):
            facts = {"method": method, "backbone": backbone, "cam": cam, "head": "softmax"}
            rows.append({**cell, **facts, "own": True})
    return pd.DataFrame(rows)


def by_boxes(rows: pd.DataFrame) -> bool:
    """Whether the rows of one data set are scored by boxes, not by masks."""
    return "max_box_acc_v2" in set(rows["metric"])
