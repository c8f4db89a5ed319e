"""Head trainings whose features are streamed: an epoch is a backbone pass, so its result is kept for a killed run."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ...baselines.backbones import features_digest, head_digest
from ...baselines.contracts import Backbone, Branch
from ...consoles import err as console
from ...datasets.schema import SampleTable
from .checkpoint import load_training, save_training
from .recipes.recipe import HeadRecipe
from .steps.wide_layer import HeadSteps


def head_key(
    backbone: Backbone, branch: Branch, work: HeadSteps, table: SampleTable, recipe: HeadRecipe, seed: int
) -> str:
    """What must agree for a head's training to continue: features, first parameters, data, recipe, seed, torch."""
    network = [backbone.name, features_digest(backbone), branch, head_digest(work.head)]
    facts = [*network, table.fingerprint, recipe.digest, seed, torch.__version__]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass
class HeadProgress:
    """Epochs done so far; in ``file`` after each of them, if there is one.

    Attributes:
        losses: Mean loss of each epoch.
        judged: Top-1 percent by branch after the epochs at which it was asked for.
        passes: Backbone passes of earlier processes.
        seconds: Wall time of earlier processes.
    """

    file: Path | None
    key: str
    losses: list[float] = field(default_factory=list)
    judged: list[dict[str, float]] = field(default_factory=list)
    passes: int = 0
    seconds: float = 0.0

    def restore(self, work: HeadSteps, title: str) -> None:
        """Go on from the file, if it holds a state of this very training; raises as ``load_training``."""
        state = load_training(self.file, self.key) if self.file is not None else None
        if state is None:
            return
        work.restore(state["work"])
        self.losses, self.judged = state["losses"], state["judged"]
        self.passes, self.seconds = state["passes"], state["seconds"]
        console.print(f"{title}: goes on after {len(self.losses)} epochs ({self.file})", markup=False, soft_wrap=True)

    def save(self, work: HeadSteps, passes: int, start: float) -> None:
        """After an epoch; ``passes`` of this process, which began at ``start`` of ``time.perf_counter``."""
        if self.file is not None:
            facts = {"passes": self.passes + passes, "seconds": self.seconds + time.perf_counter() - start}
            state = {"work": work.snapshot(), "losses": self.losses, "judged": self.judged, **facts}
            save_training(self.file, self.key, state)
