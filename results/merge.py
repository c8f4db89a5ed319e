"""Several runs as one table: the same protocol, the same data, the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from .errors import ResultsError
from .load import Run, require_images
from .manifest import RunManifest
from .scores import METRICS, Metric, score_run


class MergeError(ResultsError):
    """Runs that cannot share a table; the message says in what they differ."""


@dataclass(frozen=True)
class Merged:
    """Scores of the triples of one or more runs over their common images.

    Attributes:
        runs: The runs, restricted to the common images. triples: In table order. scores: Triple -> metric -> value.
        metrics: In table order. images: Images averaged over.
    """

    runs: tuple[Run, ...]
    triples: tuple[str, ...]
    scores: dict[str, dict[str, float]]
    metrics: tuple[Metric, ...]
    images: int
    _home: dict[str, Run]

    def manifest(self, triple: str) -> RunManifest:
        """The manifest of the run that a triple's scores come from."""
        return self._home[triple].manifest

    def alias_of(self, triple: str) -> str:
        """The triple whose records serve ``triple``; empty unless it is an alias."""
        canonical = self.manifest(triple).canonical(triple)
        return "" if canonical == triple else canonical


def merge_runs(runs: Sequence[Run]) -> Merged:
    """Score the triples of ``runs`` together.

    Raises:
        MergeError: Protocol digests or data sets differ, or a triple occurs twice with different weights or code.
        RecordError: No image is common to all triples.
    """
    if not runs:
        raise MergeError("no run to make a table of")
    for other in runs[1:]:
        _check_same(runs[0], other)
    index = reduce(np.intersect1d, (run.index for run in runs))
    runs = [run if len(run.index) == len(index) else replace(run, index=index) for run in runs]
    home: dict[str, Run] = {}
    scores: dict[str, dict[str, float]] = {}
    metrics: dict[str, Metric] = {}
    for run in runs:
        require_images(run)
        new = [t for t in run.triples if not _known(home, run, t)]
        found = score_run(run, triples=new)
        scores |= found.scores
        home |= dict.fromkeys(new, run)
        for metric in found.metrics:
            metrics.setdefault(metric.name, metric)
    backbones = list(dict.fromkeys(t.rsplit("/", 2)[0] for t in home))
    triples = sorted(home, key=lambda t: backbones.index(t.rsplit("/", 2)[0]))
    return Merged(tuple(runs), tuple(triples), scores, _in_order(metrics), len(index), home)


def _in_order(metrics: dict[str, Metric]) -> tuple[Metric, ...]:
    order = [m.name for m in METRICS]
    return tuple(sorted(metrics.values(), key=lambda m: order.index(m.name) if m.name in order else len(order)))


def _known(home: dict[str, Run], run: Run, triple: str) -> bool:
    if triple not in home:
        return False
    first = home[triple].manifest
    keys = [m.record_key(m.canonical(triple)) for m in (first, run.manifest)]
    if keys[0] != keys[1]:
        raise MergeError(
            f"{triple} is in {home[triple].out} and in {run.out} with different weights, options or version"
        )
    return True


def _check_same(first: Run, other: Run) -> None:
    ours, theirs = first.manifest, other.manifest
    where = f"{first.out} and {other.out} cannot share a table"
    if ours.protocol.digest != theirs.protocol.digest:
        fields = "; ".join(f"{n}: {a!r} and {b!r}" for n, (a, b) in ours.protocol.differences(theirs.protocol).items())
        raise MergeError(f"{where}: protocols {ours.protocol.name} and {theirs.protocol.name} differ in {fields}")
    pairs = {
        "data sets": (ours.dataset.name, theirs.dataset.name),
        "splits": (ours.dataset.split, theirs.dataset.split),
        "data fingerprints": (ours.dataset.fingerprint, theirs.dataset.fingerprint),
    }
    different = [f"{name} {a} and {b}" for name, (a, b) in pairs.items() if a != b]
    if different:
        raise MergeError(f"{where}: {'; '.join(different)}")
