"""Published scores of trained methods for weakly supervised localisation, as data."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

METRICS_OF = {"imagenet": "max_box_acc_v2", "cub": "max_box_acc_v2", "openimages30k": "pxap"}
"""Data set -> the metric of its column (names of this project)."""


def published_wsol() -> pd.DataFrame:
    """Scores of CAM, HaS, ACoL, SPG, ADL and CutMix, and two baselines, one row per published number.

    Choe et al., CVPR 2020 (``minmax``) and Kim et al., ICCV 2021 (all four normalisations); test split, last
    checkpoint.

    Returns:
        Columns method (``few_shot`` and ``center``: the baselines), normalisation (minmax, max, pas, ivr), dataset,
        network, metric (names of this project), value (percent), change (points against ``cam`` in the same column and
        under the same normalisation; 0 for ``cam``).
    """
    with (files(__package__) / "wsol.csv").open("rb") as file:
        wide = pd.read_csv(file)
    long = wide.melt(["method", "normalisation"], var_name="column")
    long[["dataset", "network"]] = long.pop("column").str.split("/", expand=True)
    long["metric"] = long["dataset"].map(METRICS_OF)
    keys = ["normalisation", "dataset", "network"]
    base = long[long["method"] == "cam"].set_index(keys)["value"]
    long["change"] = long["value"] - base.reindex(pd.MultiIndex.from_frame(long[keys])).to_numpy()
    return long[["method", *keys, "metric", "value", "change"]]
