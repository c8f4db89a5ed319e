"""What one table of the report is made from: merged runs, their resamples, and each distinct record once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...triple import Triple
from ..records.load import Run
from ..records.manifest import RunManifest
from ..scores.merge import Merged, MergeError, merge_runs
from ..scores.per_image import Floats
from ..scores.shown import Metric
from ..statistics.bootstrap import Bootstrap, Entry, bootstrap
from ..statistics.discrimination import Unbeaten, unbeaten_control
from ..statistics.image_scores import image_scores
from ..statistics.ranks import victories
from .titles import Titles

Json = dict[str, Any]
HIDDEN = ("degenerate", "top1_cls")
"""Facts of maps and networks, that no method is better or worse in."""
PREFERRED = ("max_box_acc_v2", "pxap", "gt_known_loc", "average_drop")
"""The metric that a report opens with: the first of these that the runs have."""


@dataclass(frozen=True)
class Sheet:
    """Runs of one data set and protocol over their common images.

    Attributes:
        merged: The runs. boot: Scores and resamples of all triples.
        records: The first triple of each distinct record, in table order; ``number`` says which a triple has.
    """

    merged: Merged
    boot: Bootstrap
    records: tuple[Triple, ...]
    _numbers: dict[Triple, int]
    _images: dict[tuple[int, str], Floats] = field(default_factory=dict)

    @classmethod
    def of(cls, merged: Merged, *, resamples: int, seed: int) -> Sheet:
        """Score and resample all triples."""
        entries = [Entry(t, merged.run(t), t, merged.val(t)) for t in merged.triples]
        boot = bootstrap(entries, resamples=resamples, seed=seed)
        keys = {t: (str(merged.run(t).out), merged.manifest(t).canonical(t)) for t in merged.triples}
        first: dict[tuple[str, Triple], Triple] = {}
        for triple in merged.triples:
            first.setdefault(keys[triple], triple)
        order = {key: number for number, key in enumerate(first)}
        return cls(merged, boot, tuple(first.values()), {t: order[keys[t]] for t in merged.triples})

    @property
    def manifest(self) -> RunManifest:
        """The first run's: protocol and data set are those of all."""
        return self.merged.runs[0].manifest

    @cached_property
    def titles(self) -> Titles:
        """What readers see of the triples."""
        return Titles.of(self.merged)

    @property
    def first_run(self) -> Run:
        """The first run: its images and labels are those of all."""
        return self.merged.runs[0]

    def number(self, triple: str) -> int:
        """Place of a triple's record in ``records``."""
        return self._numbers[Triple.parse(triple)]

    def is_control(self, triple: Triple) -> bool:
        """The triple's method is a control."""
        return self.merged.manifest(triple).is_control(triple.cam)

    def has(self, record: int, metric: Metric) -> bool:
        """The record has a score in the metric."""
        return metric.name in self.boot.points[self.records[record]]

    @property
    def contests(self) -> list[Metric]:
        """Metrics in which methods of a network compete."""
        return [m for m in self.boot.metrics if m.ranked and not m.per_backbone]

    @property
    def primary(self) -> Metric | None:
        """The metric that the report opens with."""
        by_name = {m.name: m for m in self.contests}
        return next((by_name[n] for n in PREFERRED if n in by_name), next(iter(self.contests), None))

    def networks(self) -> dict[str, list[int]]:
        """Backbone -> its records."""
        found: dict[str, list[int]] = {}
        for number, triple in enumerate(self.records):
            found.setdefault(triple.backbone, []).append(number)
        return found

    def image_scores(self, record: int, metric: Metric) -> Floats:
        """Scores (n,) of a record's images in a metric, computed once."""
        key = record, metric.name
        if key not in self._images:
            self._images[key] = image_scores(self.boot, self.records[record], metric)
        return self._images[key]

    @cached_property
    def won(self) -> dict[str, set[tuple[int, int]]]:
        """Metric -> pairs of records (winner, loser) of a network whose difference is significant.

        Holm's correction is over the pairs of a metric and network, as for the ranks of the leaderboard.
        """
        return {
            metric.name: {
                (self.number(winner), self.number(loser))
                for members in self.networks().values()
                for winner, loser in victories(self.boot, metric.name, [self.records[i] for i in members])
            }
            for metric in self.contests
        }

    @cached_property
    def unbeaten(self) -> dict[str, dict[str, Unbeaten]]:
        """Metric -> backbone -> the control that no method is significantly better than; others are absent."""
        found: dict[str, dict[str, Unbeaten]] = {}
        for metric in self.contests:
            won = [(str(self.records[a]), str(self.records[b])) for a, b in self.won[metric.name]]
            for backbone, members in self.networks().items():
                triples = [self.records[i] for i in members]
                controls = {str(t): t for t in triples if self.is_control(t)}
                methods = [str(t) for t in triples if not self.is_control(t)]
                one = unbeaten_control(self.boot, metric, controls, methods, won)
                if one is not None:
                    found.setdefault(metric.name, {})[backbone] = one
        return found

    @property
    def labels(self) -> Floats:
        """Labels (n,) of the images."""
        return np.asarray(self.first_run.column(self.first_run.triples[0], "label"))


def grouped(runs: Sequence[Run], vals: Sequence[Run] = ()) -> list[Merged]:
    """Runs that can share a table together; each other one has a table of its own.

    Args:
        runs: In order. vals: Runs of the val split: each serves the runs of its data set and protocol.

    Raises:
        RecordError: A run without images that all its triples share, or without the val run that its protocol needs.
    """
    groups: list[list[Run]] = []
    merged: list[Merged] = []
    for run in runs:
        for place, group in enumerate(groups):
            try:
                merged[place] = _merge([*group, run], vals)
            except MergeError:
                continue
            group.append(run)
            break
        else:
            merged.append(_merge([run], vals))
            groups.append([run])
    return merged


def _merge(runs: Sequence[Run], vals: Sequence[Run]) -> Merged:
    ours = runs[0].manifest
    fitting = [
        v
        for v in vals
        if v.manifest.dataset.name == ours.dataset.name and v.manifest.protocol.digest == ours.protocol.digest
    ]
    # One val run that fits nothing is an error of its own, which the merge explains.
    return merge_runs(runs, fitting[:1] if fitting or len(vals) != 1 else vals)
