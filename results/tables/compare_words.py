"""A comparison in plain words: who is better in what, and what the numbers cannot say."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...triple import Triple
from ..records.load import Run
from ..statistics.bootstrap import Entry
from ..statistics.comparison import WHOLE_RUN, Comparison, PairReport
from ..statistics.paired import Difference
from .naming import backbone_title, cam_title, head_title, row_title
from .notes import UNBEATEN_MARK

NAMED = 6
"""Metrics without a significant difference that a sentence names; the rest are counted."""


def pair_names(comparison: Comparison, pair: PairReport) -> tuple[str, str]:
    """Short names of the two: only what tells them apart, under the titles of tables; never the same twice."""
    first, second = (next(e for e in comparison.entries if e.name == n) for n in (pair.first, pair.second))
    names = _apart(first, second)
    return names if names[0] != names[1] else (pair.first, pair.second)


def _apart(first: Entry, second: Entry) -> tuple[str, str]:
    both = (first, second)
    parts = [Triple.parse(e.triple).names for e in both]
    network, method, head = (parts[0][i] != parts[1][i] for i in range(3))
    runs = first.run.out.resolve() != second.run.out.resolve()
    names = []
    for entry, (backbone, cam, own_head) in zip(both, parts, strict=True):
        manifest = entry.run.manifest
        words = [backbone_title(manifest, backbone)] * network + [cam_title(manifest, cam)] * method
        name = ", ".join(words)
        if head:
            title = head_title(manifest, own_head)
            name = f"{name} + {title}" if name else title
        if runs:
            name = f"{name or row_title(manifest, entry.triple)} in {_folder(entry.run, first.run, second.run)}"
        names.append(name)
    return names[0], names[1]


def _folder(run: Run, first: Run, second: Run) -> str:
    return str(run.out) if first.out.name == second.out.name else run.out.name


def answers(comparison: Comparison) -> list[str]:
    """One sentence a pair: in what the second is better, worse, or not told apart from the first."""
    if WHOLE_RUN in comparison.notes:
        return []
    return [_answer(comparison, pair) for pair in comparison.pairs]


def _answer(comparison: Comparison, pair: PairReport) -> str:
    images = comparison.boot.plan.images
    if pair.same:
        return f"Identical: {pair.same}."
    first, second = pair_names(comparison, pair)
    where = _where(comparison, pair)
    if pair.identical:
        return f"{where}{second} and {first} are identical: no record differs in any metric ({images} images)."
    tested = [d for d in pair.differences if not math.isnan(d.p_holm)]
    clauses: list[str] = []
    for verdict in ("better", "worse"):
        found = [d for d in tested if d.verdict(comparison.alpha) == verdict]
        if found:
            listed = _and([_by(d, pair, images if not clauses and d is found[0] else 0) for d in found])
            clauses.append(f"{verdict} than {first} on {listed}")
    rest = [d for d in tested if not d.verdict(comparison.alpha)]
    sentence = f"{where}{second} is {'; '.join(clauses)}" if clauses else f"{where}{second} and {first}"
    if rest:
        names = [_title(d, pair) for d in rest[:NAMED]]
        names += [f"{len(rest) - NAMED} more"] * (len(rest) > NAMED)
        rest_text = f"no significant difference in {_and(names)}"
        sentence += f"; {rest_text}" if clauses else f": {rest_text} ({images} images)"
    elif not clauses:
        sentence += ": nothing to compare"
    return f"{sentence}."


def _where(comparison: Comparison, pair: PairReport) -> str:
    """What the two have in common, where several pairs are compared."""
    if len(comparison.pairs) < 2:
        return ""
    first, second = (next(e for e in comparison.entries if e.name == n) for n in (pair.first, pair.second))
    manifest, ours, theirs = first.run.manifest, Triple.parse(first.triple).names, Triple.parse(second.triple).names
    titles = (backbone_title(manifest, ours[0]), cam_title(manifest, ours[1]), head_title(manifest, ours[2]))
    shared = [title for title, a, b in zip(titles, ours, theirs, strict=True) if a == b]
    return f"{', '.join(shared)}: " if shared and len(shared) < 3 else ""


def _by(d: Difference, pair: PairReport, images: int) -> str:
    """``GT-known Loc by 2.3 points (0.4 to 4.1; 300 images)``: sizes, whatever the direction of the metric."""
    digits = max(d.metric.digits - 1, 1)
    unit = " points" if d.metric.unit == "%" else f" {d.metric.unit}" if d.metric.unit else ""
    ends = (d.interval.low, d.interval.high) if d.value > 0 else (-d.interval.high, -d.interval.low)
    low, high = (round(end, digits) + 0.0 for end in ends)
    counted = f"; {images} images" if images else ""
    return f"{_title(d, pair)} by {abs(d.value):.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f}{counted})"


def _title(d: Difference, pair: PairReport) -> str:
    return f"{d.metric.title}{f' {UNBEATEN_MARK}' if d.metric.name in pair.unbeaten else ''}"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def unbeaten_sentences(comparison: Comparison) -> list[str]:
    """For each tested metric in which a control is not significantly worse than a pair, once a metric and network."""
    found: dict[tuple[str, str], str] = {}
    for pair in comparison.pairs:
        manifest = next(e for e in comparison.entries if e.name == pair.first).run.manifest
        tested = {d.metric.name for d in pair.differences if not math.isnan(d.p_holm)}
        for name, one in pair.unbeaten.items():
            if name not in tested:
                continue
            best = next(e.triple for e in comparison.entries if e.name == one.best)
            titles = [row_title(manifest, triple) for triple in (one.triple, best)]
            text = f"{UNBEATEN_MARK} {one.sentence(titles[0], titles[1], of='the better of the two')}"
            found.setdefault((name, one.triple.backbone), text)
    return list(found.values())


def unmarked_intervals(pair: PairReport, family: int, alpha: float) -> list[str]:
    """Why a difference whose interval excludes zero is not significant, for those of which that is so."""
    notes = []
    for d in pair.differences:
        if math.isnan(d.p_holm) or d.verdict(alpha) or d.interval.low <= 0 <= d.interval.high:
            continue
        if d.p < alpha:
            why = f"its p = {d.p:.2g} is one of {family} tests, and {d.p_holm:.2g} after Holm's correction for them"
        else:
            why = f"{d.test} on its own gives p = {d.p:.2g}, which counts no more than these images"
        notes.append(
            f"{d.metric.title}: the interval excludes zero and the difference is yet not significant, as the interval "
            f"is of this difference alone: {why}."
        )
    return notes
