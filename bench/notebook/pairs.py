"""Which pairs a comparison is of: runs and patterns of triples, as ``cambench compare`` takes them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path

from ...registry import UnknownNameError, expand_braces
from ...results.records.load import Run, load_run
from ...results.scores import same_images
from ...results.statistics import Entry, Pair
from ...text import some
from ...triple import Triple
from ..host.errors import UsageError
from .compare_options import folder_of, placed

LISTED = 8
"""Triples of a run that a message names."""


def sorted_out(what: Sequence[str | Path | Run]) -> tuple[list[Run], list[str]]:
    """Runs (folders are opened) and patterns of triples, apart; ``FOLDER:TRIPLE`` opens its folder and is a pattern.

    Raises:
        UsageError: No run; a word that is neither a folder nor a triple; a run without records.
        RecordError: A folder that is no run.
    """
    runs: list[Run] = []
    patterns: list[str] = []
    for word in what:
        if isinstance(word, Run):
            runs.append(word)
            continue
        folder, pattern = placed(word)
        if folder is not None and (pattern is None or folder not in [run.out for run in runs]):
            runs.append(load_run(folder))
        if pattern is not None:
            patterns.append(pattern)
    if not runs:
        raise UsageError(f"no run folder among {' '.join(map(str, what))}; see 'cambench compare --help'")
    for run in runs:
        if not run.triples:
            why = f" ({'; '.join(run.problems[:2])})" if run.problems else ""
            raise UsageError(f"{run.out} has no records yet{why}. Give the run's command again")
    return runs, patterns


def pairs_of(runs: list[Run], patterns: list[str], val: Sequence[Path | Run], all_pairs: bool) -> list[Pair]:
    """Pairs of entries, in the order of the request; a pattern names triples that the runs have.

    One run: its triples; patterns that name several each are paired by what they share (``_matched``). Several:
    triples that all share, else each triple in the run that has it. The first of a group is paired with each other
    one, or (``all_pairs``) any two. Patterns ``FOLDER:TRIPLE`` name the triples of that run alone, and then all do.

    Raises:
        UsageError, UnknownNameError: Fewer than two triples; a pattern that no triple fits; val runs that do not match.
    """
    if len(val) not in (0, 1, len(runs)):
        raise UsageError(f"--val is given {len(val)} times for {len(runs)} run folders; give it once, or once for each")
    vals = [v if isinstance(v, Run) else load_run(v) for v in val]
    of_run = [vals[i % len(vals)] if vals else None for i in range(len(runs))]
    used: set[str] = set()

    def entry(which: int, triple: str) -> Entry:
        run = runs[which]
        name = triple if len(runs) == 1 else f"{triple} in {run.out}"
        while name in used:
            name += " (again)"
        used.add(name)
        return Entry(name, run, triple, of_run[which])

    named = _named(runs, patterns)
    if named:
        return _among([entry(i, t) for i, t in named], all_pairs)
    if len(runs) == 1:
        chosen = _one_run(runs[0], patterns)
        matched = [] if all_pairs else _matched(runs[0], patterns, chosen)
        if matched:
            entries = {t: entry(0, t) for t in dict.fromkeys(t for pair in matched for t in pair)}
            return [(entries[a], entries[b]) for a, b in matched]
        return _among([entry(0, t) for t in chosen], all_pairs)
    shared = _shared(runs, patterns)
    if shared:
        columns = [[entry(i, t) for i in range(len(runs))] for t in shared]
        return [pair for column in columns for pair in _among(column, all_pairs)]
    return _among([entry(i, t) for i, t in _spread(runs, patterns)], all_pairs)


def _named(runs: list[Run], patterns: list[str]) -> list[tuple[int, Triple]]:
    """Run numbers and triples of patterns with a folder, in the order of the request; empty where none has one."""
    found: list[tuple[int, Triple]] = []
    folders = [p.partition(":")[0] for p in patterns if folder_of(p) is not None]
    for pattern in patterns if folders else ():
        numbers = [i for i, run in enumerate(runs) if pattern.startswith(f"{run.out}:")]
        if not numbers:
            raise UsageError(f"{pattern}: give FOLDER:TRIPLE for every triple, or folders and triples apart")
        here = numbers[0]
        found += [(here, t) for t in _matching(pattern.partition(":")[2], [runs[here]])]
    if folders and len({i for i, _ in found}) < len(runs):
        raise UsageError("give FOLDER:TRIPLE for every run, or folders and triples apart")
    if len(found) == 1:
        raise UsageError(f"{found[0][1]} of {runs[0].out} alone; name a second FOLDER:TRIPLE")
    return found


def _among(entries: Sequence[Entry], all_pairs: bool) -> list[Pair]:
    return list(combinations(entries, 2)) if all_pairs else [(entries[0], e) for e in entries[1:]]


def _one_run(run: Run, patterns: list[str]) -> list[Triple]:
    chosen = [t for p in patterns for t in _matching(p, [run])]
    if len(chosen) < 2:
        raise UsageError(
            f"name at least two triples of {run.out} (or a second run folder); it has {some(run.triples, LISTED)}"
        )
    return chosen


def _matched(run: Run, patterns: list[str], chosen: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs that share as much as they can, where patterns name several triples each; none where nothing is to match.

    Several patterns: each triple of the others with that of the first pattern with which it has most in common. One
    pattern: methods are compared with its first method under the same network and head; heads, where it has one method.
    """
    groups = [list(dict.fromkeys(_matching(p, [run]))) for p in patterns]
    triples = [Triple.parse(t) for t in dict.fromkeys(chosen)]
    if len(groups) == 1:
        names = [{t.names[i] for t in triples} for i in range(3)]
        if sum(len(n) > 1 for n in names) < 2:
            return []
        kind = "cam" if len(names[1]) > 1 else "head"
        first = getattr(triples[0], kind)
        pairs = [(t.but(**{kind: first}), t) for t in triples if getattr(t, kind) != first]
        return [(a, b) for a, b in pairs if a in triples]
    firsts = [Triple.parse(t) for t in groups[0]]
    if len(firsts) < 2:
        return []
    found: list[tuple[str, str]] = []
    for other in (Triple.parse(t) for group in groups[1:] for t in group):
        alike = {a: sum(x == y for x, y in zip(a.names, other.names, strict=True)) for a in firsts if a != other}
        best = [a for a, count in alike.items() if count == max(alike.values())]
        # Where several are equally near, nothing says which is meant.
        if len(best) == 1 and alike[best[0]]:
            found.append((best[0], other))
    return list(dict.fromkeys(found))


def _shared(runs: list[Run], patterns: list[str]) -> list[Triple]:
    """Triples that every run has: of the patterns, or all."""
    common = [t for t in runs[0].triples if all(t in run.triples for run in runs[1:])]
    if not patterns:
        if not common:
            # Another protocol or data set is the better reason, where there is one.
            same_images(runs, intersect=True)
            lists = "; ".join(f"{run.out} has {some(run.triples, LISTED)}" for run in runs)
            raise UsageError(f"the runs share no triple: {lists}")
        return common
    return list(dict.fromkeys(t for p in patterns for t in common if _fits(p, t)))


def _spread(runs: list[Run], patterns: list[str]) -> list[tuple[int, Triple]]:
    """Triples of the patterns, each in the run that has it."""
    chosen = [t for p in patterns for t in _matching(p, runs)]
    found = [(i, t) for t in chosen for i, run in enumerate(runs) if t in run.triples]
    if len(found) < 2:
        raise UsageError(f"{' '.join(patterns)} names only {found[0][1]} in {runs[found[0][0]].out}; name two")
    return found


def _matching(pattern: str, runs: Sequence[Run]) -> list[Triple]:
    triples = list(dict.fromkeys(t for run in runs for t in run.triples))
    found = [t for t in triples if _fits(pattern, t)]
    if found:
        return found
    for run in runs:
        # Planned, but no part of its records is whole.
        without = [t for t in run.pending if _fits(pattern, t)]
        if without:
            of = run.manifest.canonical(without[0])
            why = "; ".join(p for p in run.problems if of in p) or "it is not done"
            raise UsageError(
                f"{run.out} has no records of {without[0]} to compare: {why}. Give the run's command again"
            )
    raise UnknownNameError("triple", pattern, triples)


def _fits(pattern: str, triple: Triple) -> bool:
    try:
        alternatives = expand_braces(pattern)
    except ValueError as error:
        raise UsageError(str(error)) from None
    return any(all(map(fnmatchcase, triple.names, a.rsplit("/", 2))) for a in alternatives)
