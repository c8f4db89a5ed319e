"""A stratified, seeded hold-out of train, for data sets without a published validation split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..findings import Findings, OptionError
from ..schema import Split
from .rows import Chunk

HOLDOUT_OPTIONS = {
    "val_fraction": "share of train that is held out as val where none is published (default 0.1)",
    "val_seed": "seed of that hold-out (default 0)",
    "train": "official (default): all of train, held-out images too; minus_val: train without them",
}


def holdout(labels: npt.NDArray[np.int64], fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Rows (N,) held out: of each class ``round(fraction·n)``, at least one where the class has two or more.

    Each class draws from its own generator, so that a split read in pieces gives the same rows. Not scikit-learn's
    splitter, which refuses the classes of one to three images that subsets have.
    """
    chosen = np.zeros(len(labels), bool)
    order = np.argsort(labels, kind="stable")
    classes, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    for label, start, count in zip(classes, starts, counts, strict=True):
        take = min(max(1, round(fraction * count)), count - 1)
        drawn = np.random.default_rng([seed, int(label)]).permutation(count)[:take]
        chosen[order[start + drawn]] = True
    return chosen


class HoldOut:
    """Chooses train's rows for a split, chunk by chunk (a class must not be spread over chunks).

    ``why``: the reason for the hold-out, for the note. OptionError where an option is out of range.
    """

    def __init__(self, split: Split, options: Mapping[str, Any], findings: Findings, why: str) -> None:
        try:
            self.fraction, self.seed = float(options.get("val_fraction", 0.1)), int(options.get("val_seed", 0))
        except ValueError as error:
            raise OptionError(f"val_fraction and val_seed must be numbers: {error}") from None
        if not 0 < self.fraction < 1 or self.seed < 0:
            raise OptionError(f"val_fraction={self.fraction} must lie between 0 and 1, val_seed={self.seed} above -1")
        self.policy = options.get("train", "official")
        if self.policy not in ("official", "minus_val"):
            raise OptionError(f"train={self.policy!r}; choose official or minus_val")
        self.split, self.findings, self.why = split, findings, why
        self.held = 0

    def apply(self, chunk: Chunk) -> Chunk:
        """The rows of the split."""
        if self.split == "train" and self.policy == "official":
            return chunk
        held = holdout(chunk.labels, self.fraction, self.seed)
        self.held += int(held.sum())
        return chunk.take(np.flatnonzero(held if self.split == "val" else ~held))

    def report(self) -> None:
        """Say what was done, once all chunks went through."""
        if self.split == "val":
            rest = "train without them: train=minus_val" if self.policy == "official" else "train leaves them out"
            drawn = f"{self.held:,} images, {self.fraction:.0%} of each class but at least one, seed {self.seed}"
            self.findings.note(f"val is a stratified hold-out of train ({drawn}): {self.why}; {rest}")
        elif self.policy == "minus_val":
            self.findings.note(f"train without the {self.held:,} images held out as val")
