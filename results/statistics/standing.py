"""What the scores of a table are worth: intervals, changes that are significant, ranks with ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ...triple import Triple
from ..scores.merge import Merged
from .bootstrap import Bootstrap, Entry, bootstrap
from .discrimination import Unbeaten, unbeaten_control
from .intervals import LEVEL, RESAMPLES, Interval
from .paired import ALPHA, Difference, differences
from .ranks import places, victories

BASE_HEAD = "softmax"


def base_triple(triple: str) -> Triple:
    """The same backbone and method under the base head."""
    return Triple.parse(triple).but(head=BASE_HEAD)


@dataclass(frozen=True)
class Standing:
    """Statistics of the triples of a table; everything is within a backbone, over the images of the table.

    Attributes:
        intervals: Triple -> metric -> interval of the score.
        changes: Triple -> metric -> paired test against the same method with the base head; none for base rows and for
            triples that share their records. Holm's correction is over the changes of a backbone.
        ranks: Triple -> ranked metric -> 1 + number of triples of the backbone that are significantly better; Holm's
            correction is over the pairs of a metric and backbone.
        tests: Backbone -> number of changes tested. resamples, seed, level, alpha: Of the statistics.
        unbeaten: Backbone -> metric -> the control that no method is significantly better than (in the tests of the
            ranks): there the metric does not discriminate. Metrics in which every control is beaten are absent.
    """

    intervals: dict[str, dict[str, Interval]] = field(default_factory=dict)
    changes: dict[str, dict[str, Difference]] = field(default_factory=dict)
    ranks: dict[str, dict[str, int]] = field(default_factory=dict)
    tests: dict[str, int] = field(default_factory=dict)
    resamples: int = RESAMPLES
    seed: int = 0
    level: float = LEVEL
    alpha: float = ALPHA
    unbeaten: dict[str, dict[str, Unbeaten]] = field(default_factory=dict)

    def significant(self, triple: str, metric: str) -> bool:
        """The change of a triple to its base head is significant."""
        change = self.changes.get(triple, {}).get(metric)
        return change is not None and bool(change.verdict(self.alpha))


def standing(
    merged: Merged, *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL, alpha: float = ALPHA
) -> Standing:
    """Statistics of merged runs, a backbone at a time; the same records, resamples and seed give the same numbers.

    Raises:
        RecordError: Records are damaged or cannot be scored.
    """
    found = Standing(resamples=resamples, seed=seed, level=level, alpha=alpha)
    for backbone, triples in of_backbones(merged).items():
        add_backbone(found, merged, backbone, triples)
    return found


def of_backbones(merged: Merged) -> dict[str, list[Triple]]:
    """Backbone -> its triples, in table order."""
    groups: dict[str, list[Triple]] = {}
    for triple in merged.triples:
        groups.setdefault(triple.backbone, []).append(triple)
    return groups


def add_backbone(found: Standing, merged: Merged, backbone: str, triples: Sequence[Triple]) -> None:
    """Put the statistics of one backbone's triples, which depend on no other backbone, into ``found``."""
    alpha = found.alpha
    entries = [Entry(t, merged.run(t), t, merged.val(t)) for t in triples]
    boot = bootstrap(entries, resamples=found.resamples, seed=found.seed)
    found.intervals.update(boot.intervals(found.level))
    first = _first_of_records(boot)
    tested = _changes(boot, first, triples, found.level)
    found.tests[backbone] = len(tested)
    by_pair: dict[tuple[str, str], dict[str, Difference]] = {}
    for one in tested:
        by_pair.setdefault((one.first, one.second), {})[one.metric.name] = one
    for triple in triples:
        pair = first.get(base_triple(triple), ""), first[triple]
        found.changes[triple] = by_pair.get(pair, {})
    shown = {first[t] for t in triples if merged.manifest(t).is_control(t.cam)}
    competing = list(dict.fromkeys(first.values()))
    controls = {e: Triple.parse(e) for e in competing if e in shown}
    methods = [e for e in competing if e not in controls]
    for metric in (m for m in boot.metrics if m.ranked and not m.per_backbone):
        won = victories(boot, metric.name, competing, alpha=alpha)
        ranked = places([e for e in competing if metric.name in boot.points[e]], won)
        for triple in triples:
            if first[triple] in ranked:
                found.ranks.setdefault(triple, {})[metric.name] = ranked[first[triple]]
        unbeaten = unbeaten_control(boot, metric, controls, methods, won)
        if unbeaten is not None:
            found.unbeaten.setdefault(backbone, {})[metric.name] = unbeaten


def _first_of_records(boot: Bootstrap) -> dict[str, str]:
    """Entry -> the first entry with the same records: a test of equal records says nothing, and enlarges a family."""
    seen: dict[int, str] = {}
    return {entry: seen.setdefault(id(boot.records[entry]), entry) for entry in boot.entries}


def _changes(boot: Bootstrap, first: dict[str, str], triples: Sequence[str], level: float) -> list[Difference]:
    pairs = [(first[base_triple(t)], first[t]) for t in triples if base_triple(t) in first]
    return differences(boot, dict.fromkeys(p for p in pairs if p[0] != p[1]), level=level)
