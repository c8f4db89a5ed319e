"""What a reproduction does, step by step: what each step makes, and what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from ...baselines.backbones import TorchvisionWeights
from .requests import Reproduction

Kind = Literal["network", "head", "few_shot", "records"]


@dataclass(frozen=True)
class Step:
    """One thing to do, and the file or folder that shows it done."""

    kind: Kind
    dataset: str
    what: str
    target: Path
    done: bool
    images: int
    """Images that a forward is needed for, epochs included."""
    forwards: float
    """Cost in forwards of ``network`` (for ``records``: of all its networks, weighed by ``seconds``)."""
    seconds: float
    """Estimated time; 0 where done."""
    given: bool = False
    """``target`` is a file of ``--weights``, used as it is."""


@dataclass(frozen=True)
class ReproductionPlan:
    """Steps in the order in which they are done, and the triples of every data set."""

    request: Reproduction
    steps: tuple[Step, ...]
    triples: Mapping[str, tuple[str, ...]]
    networks: Mapping[str, str]
    planning_seconds: float
    """What making this plan took."""
    notes: tuple[str, ...] = ()
    """For the report: subsets of the paper's data sets, and what was given instead of trained."""
    advice: tuple[str, ...] = ()
    """For whoever starts it: what costs more than it must."""
    rows: pd.DataFrame = field(default_factory=pd.DataFrame)
    """What the table compares, one row a printed number (``wsol``: a map)."""
    few_shot: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Data set -> networks whose few-shot baseline is drawn (``wsol``)."""
    fetched: Mapping[str, TorchvisionWeights] = field(default_factory=dict)
    """Public weights that are not on this machine yet, by the network that needs them first."""
    missing: tuple[str, ...] = ()
    """Data sets that are not there and what to do about each; the plan then cannot be carried out."""

    @property
    def seconds(self) -> float:
        """Estimated time of what is missing."""
        return sum(s.seconds for s in self.steps)

    def head_of(self, dataset: str, name: str) -> Path | None:
        """File of a network's sigmoid branch; None where the network's own weights hold it."""
        step = next(s for s in self.steps if (s.kind, s.dataset, s.what) == ("head", dataset, name))
        return None if step.given else step.target
