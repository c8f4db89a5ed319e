"""Is one better than the other? Differences with intervals and tests, the images and classes behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches

import numpy as np
import numpy.typing as npt

from ...triple import Triple
from ..records.load import Run
from ..scores.comparable import CompareError, same_images
from ..scores.shown import Metric
from .bootstrap import Bootstrap, Entry, bootstrap
from .discrimination import Unbeaten, control_entries, unbeaten_among
from .image_lists import ClassRow, ImageRow, class_name, classes_of, least_shown, listed, order_of
from .intervals import LEVEL, RESAMPLES
from .paired import ALPHA, Difference, differences, holm
from .transfer import Transfer, threshold_transfer

Pair = tuple[Entry, Entry]
SAME_LISTED = 3
WHOLE_RUN = "every pair compares records with themselves: there is nothing to tell apart"


@dataclass(frozen=True)
class PairReport:
    """All that is said of one pair.

    Attributes:
        first, second: Entries; differences are ``second`` minus ``first``.
        same: Why there is nothing to compare (the same records); empty otherwise.
        differences: One per metric. by: Metric of the lists below.
        gains, losses: Images on which ``second`` is better, worse; the largest differences first.
        classes: All classes, the largest difference first.
        unbeaten: Metric -> a control of the runs than which neither of the two is significantly better.
    """

    first: str
    second: str
    same: str = ""
    differences: tuple[Difference, ...] = ()
    by: Metric | None = None
    gains: tuple[ImageRow, ...] = ()
    losses: tuple[ImageRow, ...] = ()
    classes: tuple[ClassRow, ...] = ()
    unbeaten: dict[str, Unbeaten] = field(default_factory=dict)

    @property
    def identical(self) -> bool:
        """No record differs in any metric, or both have the same records."""
        return bool(self.same) or (bool(self.differences) and all(d.identical for d in self.differences))


@dataclass(frozen=True)
class Comparison:
    """Pairs of entries over the same images; Holm's correction runs over all their tested differences.

    Attributes:
        pairs: Reports, in the order asked for. boot: Scores and resamples.
        entries: All that are compared, over the same images.
        notes: What a reader must know: images left out, the same records compared.
        level: Of the intervals. alpha: Of the verdicts.
        primary: Names of the metrics that are tested; all where empty. The others have differences and intervals, and
            no corrected p-value.
        transfers: Loc scores of every entry at the fixed, the val-chosen and the oracle threshold, where val runs are
            given.
    """

    pairs: tuple[PairReport, ...]
    boot: Bootstrap
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]
    level: float
    alpha: float
    transfers: tuple[Transfer, ...] = ()
    primary: tuple[str, ...] = ()

    @property
    def run(self) -> Run:
        """A run, for the facts of the data set."""
        return self.entries[0].run

    @property
    def differences(self) -> list[Difference]:
        """Those of all pairs."""
        return [d for pair in self.pairs for d in pair.differences]

    @property
    def tested(self) -> list[Difference]:
        """The differences that Holm's correction is over."""
        return [d for d in self.differences if not np.isnan(d.p_holm)]

    def worse(self, metrics: Iterable[str]) -> list[Difference]:
        """Differences in ``metrics`` in which ``second`` is significantly worse, tested as a family of their own.

        Raises:
            CompareError: There is no such metric, or a pair lacks it: a check that cannot fail is none.
        """
        wanted = list(dict.fromkeys(metrics))
        known = [m.name for m in self.boot.metrics if m.ranked]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise _no_metric(unknown, known)
        for pair in self.pairs:
            both = set(self.boot.points[pair.first]) & set(self.boot.points[pair.second])
            lacking = [name for name in wanted if name not in both]
            if lacking:
                raise CompareError(f"{pair.first} and {pair.second} do not both have:", lacking)
        family = [d for d in self.differences if d.metric.name in wanted]
        corrected = holm([d.p for d in family])
        tested = [replace(d, p_holm=float(p)) for d, p in zip(family, corrected, strict=True)]
        return [d for d in tested if d.verdict(self.alpha) == "worse"]


@dataclass(frozen=True)
class CompareChoices:
    """What a comparison is made for, and how it is drawn.

    Attributes:
        by: Metric of the image and class lists (default: the first of ``metrics``, else of ``PREFERRED`` that differs).
        metrics: The metrics that the comparison was made for: Holm's correction is over these alone, and the others are
            not tested (default: all).
        intersect: Compare the common images where the runs' image sets differ.
        images: Images listed on either side.
        resamples: Of the bootstrap.
        seed: Of the resamples.
        level: Of the intervals.
        alpha: Of the verdicts.
    """

    by: str | None = None
    metrics: tuple[str, ...] = ()
    intersect: bool = False
    images: int = 5
    resamples: int = RESAMPLES
    seed: int = 0
    level: float = LEVEL
    alpha: float = ALPHA


DEFAULT_CHOICES = CompareChoices()


def compare(
    pairs: Sequence[Pair], choices: CompareChoices = DEFAULT_CHOICES, *, threads: int | None = None
) -> Comparison:
    """Compare pairs of triples on the same images.

    Args:
        pairs: ``(first, second)``: the reference and what is compared with it.
        choices: Metrics, lists and intervals.
        threads: Of the bootstrap.

    Raises:
        CompareError: The runs differ in protocol, data set or image set, or no entry has the metric ``by``.
        RecordError: Records are damaged or cannot be scored, or a val run does not fit (``val_mismatch``).
        ValueError: No pair.
    """
    if not pairs:
        raise ValueError("no pair to compare")
    entries = {e.name: e for pair in pairs for e in pair}
    runs = {str(e.run.out): e.run for e in entries.values()}
    limited, notes = same_images(list(runs.values()), intersect=choices.intersect)
    restricted = dict(zip(runs, limited, strict=True))
    entries = {n: replace(e, run=restricted[str(e.run.out)]) for n, e in entries.items()}
    controls = control_entries(list(entries.values()))
    boot = bootstrap([*entries.values(), *controls], resamples=choices.resamples, seed=choices.seed, threads=threads)
    primary = _known_metrics(boot, entries, choices.metrics)
    by = choices.by or next(iter(primary), None)
    named = [(a.name, b.name, same_records(entries[a.name], entries[b.name])) for a, b in pairs]
    tested = _tested(differences(boot, [(a, b) for a, b, same in named if not same], level=choices.level), primary)
    reports = [
        PairReport(a, b, same)
        if same
        else _report(boot, limited[0], [d for d in tested if _of(d, a, b)], a, b, by, choices.images)
        for a, b, same in named
    ]
    reports = [
        replace(r, unbeaten=unbeaten_among(boot, r.first, r.second, entries, controls, choices.alpha)) for r in reports
    ]
    notes += _same_notes(reports)
    notes += [
        f"{p.first} and {p.second}: no record differs in any metric"
        for p in reports
        if p.differences and all(d.identical for d in p.differences)
    ]
    notes += [f"{run.out}: {problem}" for run in limited for problem in run.problems]
    with_val = [e for e in entries.values() if e.val is not None]
    return Comparison(
        pairs=tuple(reports),
        boot=boot,
        entries=tuple(entries.values()),
        notes=tuple(dict.fromkeys(notes)),
        level=choices.level,
        alpha=choices.alpha,
        transfers=tuple(
            threshold_transfer(with_val, resamples=choices.resamples, seed=choices.seed, level=choices.level)
        ),
        primary=tuple(primary),
    )


def _known_metrics(boot: Bootstrap, entries: Iterable[str], metrics: Sequence[str]) -> list[str]:
    """``metrics`` without repetition; CompareError where no entry has one."""
    known = [m.name for m in boot.metrics if m.ranked and any(m.name in boot.points[e] for e in entries)]
    unknown = [name for name in metrics if name not in known]
    if unknown:
        raise _no_metric(unknown, known)
    return list(dict.fromkeys(metrics))


def _no_metric(unknown: Sequence[str], known: Sequence[str]) -> CompareError:
    near = get_close_matches(unknown[0], known, n=1)
    meant = f" (did you mean {near[0]}?)" if near else ""
    return CompareError(f"no metric {', '.join(unknown)} in these records{meant}; they have:", known)


def _tested(found: Sequence[Difference], primary: Sequence[str]) -> list[Difference]:
    """Differences with Holm's correction over those in ``primary`` alone; all as they are where it is empty."""
    if not primary:
        return list(found)
    family = [d for d in found if d.metric.name in primary]
    corrected = iter(holm([d.p for d in family]))
    return [replace(d, p_holm=float(next(corrected)) if d.metric.name in primary else math.nan) for d in found]


def _same_notes(reports: Sequence[PairReport]) -> list[str]:
    """What compares a thing with itself; a whole run in a few lines."""
    same = [p.same for p in reports if p.same]
    if len(same) < len(reports) or len(same) <= SAME_LISTED:
        return same
    return [WHOLE_RUN, *same[:SAME_LISTED], f"and {len(same) - SAME_LISTED} more"]


def compare_triples(run: Run, first: str, second: str, *, val: Run | None = None, by: str | None = None) -> Comparison:
    """``compare`` of two triples of one run; ``val`` as in ``Entry``."""
    names = (first, second) if first != second else (first, f"{second} (again)")
    return compare([(Entry(names[0], run, first, val), Entry(names[1], run, second, val))], CompareChoices(by=by))


def same_records(first: Entry, second: Entry) -> str:
    """Why two entries share their records; empty where they do not."""
    canonical = [e.run.manifest.canonical(e.triple) for e in (first, second)]
    if first.run.out.resolve() != second.run.out.resolve() or canonical[0] != canonical[1]:
        return ""
    if first.triple == second.triple:
        return f"{first.triple} of {first.run.out} is compared with itself: every difference is zero"
    identities = first.run.manifest.identities
    why = (
        identities.get(Triple.parse(second.triple))
        or identities.get(Triple.parse(first.triple))
        or "their maps are equal by algebra"
    )
    return f"{first.triple} and {second.triple} share their records: {why}; every difference is zero"


def _of(difference: Difference, first: str, second: str) -> bool:
    return (difference.first, difference.second) == (first, second)


def _report(
    boot: Bootstrap, run: Run, found: list[Difference], first: str, second: str, by: str | None, images: int
) -> PairReport:
    metric, a, b = listed(boot, first, second, by)
    gain = (b - a) if metric.higher_is_better else (a - b)
    labels = run.column(run.triples[0], "label")
    names = [class_name(run, int(label)) for label in labels]
    order = order_of(boot, first, second, gain)
    shown = least_shown(metric)
    ids = run.image_ids

    def rows(chosen: npt.NDArray[np.int64]) -> tuple[ImageRow, ...]:
        return tuple(ImageRow(str(ids[i]), int(run.index[i]), names[i], float(a[i]), float(b[i])) for i in chosen)

    return PairReport(
        first=first,
        second=second,
        differences=tuple(found),
        by=metric,
        gains=rows(order[gain[order] > shown][:images]),
        losses=rows(order[gain[order] < -shown][:images]),
        classes=classes_of(run, labels, a, b, gain, shown),
    )
