"""The score maps that a run stored, and the request that it was started with."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ...datasets.open import DataSource
from ...datasets.schema import SampleTable
from ...registry import load_plugin
from ...results.records.columns import MAP
from ...results.records.load import Run, load_run
from ...triple import Triple
from ..engine.again import REQUEST
from ..engine.alternatives import split_pattern
from ..host.errors import RunError, UsageError

AGAIN = "run again with --keep-maps and another --out"


def open_stored(folder: Path, patterns: Sequence[str]) -> tuple[Run, list[Triple]]:
    """A run, and the triples that patterns choose of it (all of them for none), every one of which has maps.

    Raises:
        RecordError: The folder is no run.
        UsageError: A pattern chooses no triple of the run.
        RunError: The run stored no maps, or not those of a triple that was named.
    """
    run = load_run(folder)
    chosen = _chosen(run, patterns)
    lacking = [t for t in chosen if not run.has_column(t, MAP)]
    if lacking and (patterns or len(lacking) == len(chosen)):
        raise RunError(f"{folder}: the maps of {_named(lacking)} are not stored; {AGAIN}")
    return run, [t for t in chosen if t not in lacking]


def left_without(run: Run, patterns: Sequence[str]) -> list[Triple]:
    """Triples that ``open_stored`` leaves out, since their maps are not stored."""
    return [t for t in _chosen(run, patterns) if not run.has_column(t, MAP)]


def run_fields(run: Run) -> dict[str, Any]:
    """What a run was asked for: the fields of its ``RunConfig``."""
    found = run.manifest.settings.get(REQUEST, {}).get("fields")
    return dict(found) if isinstance(found, dict) else {}


def open_data(run: Run, root: Path | None) -> SampleTable:
    """The split that a run is over, from where the run found it, or from ``root``.

    Raises:
        DatasetError: The data cannot be read.
        RunError: They are not the run's.
    """
    fields = run_fields(run)
    for plugin in fields.get("plugins", ()):
        load_plugin(Path(plugin))
    where = root or (Path(fields["root"]) if fields.get("root") else None)
    data = run.manifest.dataset
    source = DataSource(fields.get("dataset", data.name), where, data.split, fields.get("options", {}))
    table = source.open().head(fields.get("limit"))
    if table.fingerprint != data.fingerprint:
        raise RunError(
            f"{run.out}: the data are not those of the run (fingerprint {table.fingerprint[:16]}, the run has "
            f"{data.fingerprint[:16]}); give --root"
        )
    return table


def _chosen(run: Run, patterns: Sequence[str]) -> list[Triple]:
    if not patterns:
        return list(run.triples)
    from fnmatch import fnmatchcase

    found: dict[Triple, None] = {}
    for pattern in (plain for p in patterns for plain in split_pattern(p)):
        named = [t for t in run.triples if all(fnmatchcase(a, b) for a, b in zip(t.names, pattern.names, strict=True))]
        if not named:
            raise UsageError(f"{run.out} has no triple {pattern}; it has {', '.join(run.triples)}")
        found |= dict.fromkeys(named)
    return list(found)


def _named(triples: Collection[Triple]) -> str:
    shown = list(triples)[:3]
    return ", ".join(shown) + (f" and {len(triples) - 3} more" if len(triples) > 3 else "")
