"""A stratified, seeded hold-out of train, for data sets without a published validation split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .findings import Findings
from .rows import Chunk
from .schema import DatasetError, Split

HOLDOUT_OPTIONS = {
    "val_fraction": "share of train that is held out as val where none is published (default 0.1)",
    "val_seed": "seed of that hold-out (default 0)",
    "train": "official (default): all of train, held-out images too; minus_val: train without them",
}


def holdout(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Rows (N,) held out: of each class ``round(fraction·n)``, at least one where the class has two or more.

    Not scikit-learn's splitter, which refuses the classes of one to three images that subsets and CUBV2 have.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    shuffled = rng.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    for start, count in zip(starts, counts, strict=True):
        take = min(max(1, round(fraction * count)), count - 1)
        chosen[order[start : start + take]] = True
    return chosen


def split_train(chunk: Chunk, split: Split, options: Mapping[str, Any], findings: Findings, why: str) -> Chunk:
    """Train's rows for ``train`` or, as a hold-out, for ``val``; says so in ``findings``.

    Raises:
        DatasetError: An option is out of range.
    """
    try:
        fraction, seed = float(options.get("val_fraction", 0.1)), int(options.get("val_seed", 0))
    except ValueError as error:
        raise DatasetError(f"val_fraction and val_seed must be numbers: {error}") from None
    if not 0 < fraction < 1:
        raise DatasetError(f"val_fraction={fraction} must lie between 0 and 1")
    policy = options.get("train", "official")
    if policy not in ("official", "minus_val"):
        raise DatasetError(f"train={policy!r}; choose official or minus_val")
    if split == "train" and policy == "official":
        return chunk
    held = holdout(chunk.labels, fraction, seed)
    if split == "val":
        rest = "train without them: train=minus_val" if policy == "official" else "train leaves them out"
        findings.note(
            f"val is a stratified hold-out of train ({held.sum():,} images, {fraction:.0%}, seed {seed}): {why}; {rest}"
        )
    else:
        findings.note(f"train without the {held.sum():,} images held out as val")
    return chunk.take(np.flatnonzero(held if split == "val" else ~held))
