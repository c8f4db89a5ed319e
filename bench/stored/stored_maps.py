"""The score maps that a run stored, and the request that it was started with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from ...datasets.schema import SampleTable
from ...plugins import load_plugin
from ...results.records.columns import MAP
from ...results.records.load import Run, load_run
from ...text import some
from ...triple import Triple
from ..engine.again import fields_asked, source_asked
from ..engine.planning.alternatives import split_pattern
from ..host.errors import RunError, UsageError

NAMED = 3
"""Triples that a message names."""
AGAIN = "run again with --keep-maps and another --out"


class Stored(NamedTuple):
    """A run, the chosen triples whose maps it stored, and the chosen ones that are left out, as it did not."""

    run: Run
    triples: list[Triple]
    without: list[Triple]


def open_stored(folder: Path, patterns: Sequence[str]) -> Stored:
    """A run, and the triples that patterns choose of it (all of them for none).

    Raises:
        RecordError: The folder is no run.
        UsageError: A pattern chooses no triple of the run.
        RunError: The run stored no maps, or not those of a triple that was named.
    """
    run = load_run(folder)
    chosen = _chosen(run, patterns)
    without = [t for t in chosen if not run.has_column(t, MAP)]
    if without and (patterns or len(without) == len(chosen)):
        raise RunError(f"{folder}: the maps of {some(without, NAMED)} are not stored; {AGAIN}")
    return Stored(run, [t for t in chosen if t not in without], without)


def open_data(run: Run, root: Path | None) -> SampleTable:
    """The split that a run is over, from where the run found it, or from ``root``.

    Raises:
        DatasetError: The data cannot be read.
        RunError: They are not the run's.
    """
    fields = fields_asked(run.manifest)
    for plugin in fields.get("plugins", ()):
        load_plugin(Path(plugin))
    data, source = run.manifest.dataset, source_asked(run.manifest)
    table = replace(source, root=root or source.root).open().head(fields.get("limit"))
    if table.fingerprint != data.fingerprint:
        raise RunError(
            f"{run.out}: the data are not those of the run (fingerprint {table.fingerprint[:16]}, the run has "
            f"{data.fingerprint[:16]}); give --root"
        )
    return table


def _chosen(run: Run, patterns: Sequence[str]) -> list[Triple]:
    if not patterns:
        return list(run.triples)
    found: dict[Triple, None] = {}
    for pattern in (plain for p in patterns for plain in split_pattern(p)):
        named = [t for t in run.triples if all(fnmatchcase(a, b) for a, b in zip(t.names, pattern.names, strict=True))]
        if not named:
            raise UsageError(f"{run.out} has no triple {pattern}; it has {', '.join(run.triples)}")
        found |= dict.fromkeys(named)
    return list(found)
