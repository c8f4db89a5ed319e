"""Rows of the tables that can be reproduced, and whether a request fits its table."""

from __future__ import annotations

from typing import get_args

import pandas as pd

from ...datasets.schema import DATASETS
from ...protocol import PROTOCOLS
from ...results.paper import TableName, published_table
from ..host.errors import UsageError
from ..maps import MAPS
from .requests import WSOL_TABLE, Reproduction
from .wsol_rows import wsol_rows


def checked_rows(request: Reproduction) -> tuple[dict[str, str], pd.DataFrame]:
    """Networks of the table and what stands for them, and the table's rows; UsageError where the request is wrong."""
    if request.table not in (*get_args(TableName), WSOL_TABLE):
        raise UsageError(f"table {request.table!r}: expected {', '.join(get_args(TableName))} or {WSOL_TABLE}")
    if request.table != WSOL_TABLE and (request.methods or request.networks):
        raise UsageError(f"--method and --network: {request.table} has neither; they choose from {WSOL_TABLE}")
    rows = wsol_rows(request) if request.table == WSOL_TABLE else published_table(request.table)
    for name in request.datasets:
        DATASETS.get(name)
        if name not in set(rows["dataset"]):
            raise UsageError(f"{request.table} has no data set {name!r}; it has {', '.join(set(rows['dataset']))}")
    for protocol in request.protocols:
        PROTOCOLS.get(protocol)
    names = [name for name in dict.fromkeys(rows["backbone"]) if name != MAPS]
    bases = list(dict.fromkeys(name.partition("+")[0] for name in names))
    unknown = [n for n in request.substitutes if n not in bases]
    if unknown:
        raise UsageError(f"substitute {unknown[0]!r}: {request.table} has {', '.join(bases)}")
    networks = {n: request.substitute(n) for n in names}
    if len(set(networks.values())) != len(networks):
        raise UsageError("two networks of the table are replaced by the same one; every network needs its own")
    usable = set(request.datasets or rows["dataset"])
    for key, file in request.weights.items():
        dataset, slash, name = key.partition("/")
        if not slash or dataset not in usable or name not in {*networks, *networks.values()}:
            raise UsageError(
                f"--weights {key}={file}: expected DATASET/NETWORK=FILE with a data set of {', '.join(sorted(usable))} "
                f"and a network of {', '.join(networks)}"
            )
    strange = sorted(set(request.roots) - set(rows["dataset"]))
    if strange:
        raise UsageError(f"--root {strange[0]}=…: {request.table} has {', '.join(dict.fromkeys(rows['dataset']))}")
    missing = [f for f in request.weights.values() if not f.is_file()]
    if missing:
        raise UsageError(f"--weights {missing[0]}: no such file")
    return {**networks, **({MAPS: MAPS} if MAPS in set(rows["backbone"]) else {})}, rows
