"""Several runs as one table: the same protocol, the same data, the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from ...triple import Triple
from ..records.load import Run, require_images
from ..records.manifest import RunManifest
from ..records.record_errors import ResultsError
from .shown import METRICS, Metric, score_run
from .val_run import val_mismatch


class MergeError(ResultsError):
    """Runs that cannot share a table; the message says in what they differ."""


@dataclass(frozen=True)
class Merged:
    """Scores of the triples of one or more runs over their common images.

    Attributes:
        runs: The runs, restricted to the common images. triples: In table order. scores: Triple -> metric -> value.
        metrics: In table order. images: Images averaged over.
        vals: Runs of the val split, one per run, for a protocol that chooses the location threshold there.
    """

    runs: tuple[Run, ...]
    triples: tuple[Triple, ...]
    scores: dict[str, dict[str, float]]
    metrics: tuple[Metric, ...]
    images: int
    vals: tuple[Run | None, ...]
    _home: dict[Triple, int]

    def run(self, triple: str) -> Run:
        """The run that a triple's scores come from."""
        return self.runs[self._home[Triple.parse(triple)]]

    def val(self, triple: str) -> Run | None:
        """The val run of that run."""
        return self.vals[self._home[Triple.parse(triple)]]

    def manifest(self, triple: str) -> RunManifest:
        """The manifest of that run."""
        return self.run(triple).manifest

    def alias_of(self, triple: str) -> str:
        """The triple whose records serve ``triple``; empty unless it is an alias."""
        canonical = self.manifest(triple).canonical(triple)
        return "" if canonical == triple else canonical


def merge_runs(runs: Sequence[Run], vals: Sequence[Run] = ()) -> Merged:
    """Score the triples of ``runs`` together.

    Args:
        runs: One or more runs of one protocol and data set.
        vals: Their runs of the val split, where the protocol chooses its location threshold there: one for all runs,
            or one for each.

    Raises:
        MergeError: Protocols, data sets, options or versions differ, or a triple occurs twice with different weights
            or code.
        RecordError: No image is common to all triples; a val run is missing.
    """
    if not runs:
        raise MergeError("no run to make a table of")
    if len(vals) not in (0, 1, len(runs)):
        raise MergeError(f"{len(vals)} val runs for {len(runs)} runs: give one, or one for each")
    for other in runs[1:]:
        _check_same(runs[0], other)
    index = reduce(np.intersect1d, (run.index for run in runs))
    runs = [run if len(run.index) == len(index) else replace(run, index=index) for run in runs]
    of_run = tuple(vals[i % len(vals)] if vals else None for i in range(len(runs)))
    for run, val in zip(runs, of_run, strict=True):
        mismatch = "" if val is None else val_mismatch(run, val, run.triples)
        if mismatch:
            raise MergeError(mismatch)
    home: dict[Triple, int] = {}
    scores: dict[str, dict[str, float]] = {}
    metrics: dict[str, Metric] = {}
    for number, run in enumerate(runs):
        require_images(run)
        new = [t for t in run.triples if not (t in home and _same_records(runs[home[t]], run, t))]
        found = score_run(run, of_run[number], new)
        scores |= found.scores
        home |= dict.fromkeys(new, number)
        for metric in found.metrics:
            metrics.setdefault(metric.name, metric)
    backbones = list(dict.fromkeys(t.backbone for t in home))
    triples = sorted(home, key=lambda t: backbones.index(t.backbone))
    return Merged(tuple(runs), tuple(triples), scores, _in_order(metrics), len(index), of_run, home)


def _in_order(metrics: dict[str, Metric]) -> tuple[Metric, ...]:
    order = [m.name for m in METRICS]
    return tuple(sorted(metrics.values(), key=lambda m: order.index(m.name) if m.name in order else len(order)))


def _same_records(first: Run, run: Run, triple: str) -> bool:
    # Which of several equal methods serves a triple depends on what else a run computes, and changes no number.
    ours, theirs = first.manifest, run.manifest
    if ours.record_key(triple) != theirs.record_key(triple):
        different = "; ".join(ours.differences(theirs))
        raise MergeError(
            f"{triple} is in {first.out} and in {run.out}, and not of the same weights, options and version: "
            f"{different.replace('this run has', 'the first has').replace('the folder has', 'the second has')}"
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
        "data fingerprints": (_short(ours.dataset.fingerprint), _short(theirs.dataset.fingerprint)),
        "numbers of images (--limit)": (ours.dataset.rows, theirs.dataset.rows),
    }
    different = [f"{name} {a} and {b}" for name, (a, b) in pairs.items() if a != b]
    if different:
        raise MergeError(f"{where}: {'; '.join(different)}")


def _short(fingerprint: str) -> str:
    """Enough of a data fingerprint to tell two apart; a run with ``--limit N`` has ``<of the data>:N``."""
    return fingerprint.partition(":")[0][:16]
