"""The score maps that a run stored, and the request that it was started with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from ..maps.given_method import open_folders
from ..maps.map_folder import MapFolder

NAMED = 3
"""Triples that a message names."""
AGAIN = "run again with --keep-maps and another --out"


class Stored(NamedTuple):
    """A run, the chosen triples whose maps it stored, and the chosen ones that are left out, as it did not."""

    run: Run
    triples: list[Triple]
    without: list[Triple]


class GivenFiles(NamedTuple):
    """Maps made elsewhere: method -> its files, and method -> why its files cannot be read again."""

    found: Mapping[str, MapFolder]
    gone: Mapping[str, str]

    def why(self, cam: str) -> str:
        """What stands behind the reason that a method's maps are not at hand; empty where it made them itself."""
        return f"; {self.gone[cam]}; say where its files are with --maps {cam}=DIR" if cam in self.gone else ""


def open_stored(folder: Path, patterns: Sequence[str]) -> Stored:
    """A run, and the triples that patterns choose of it (all of them for none).

    Raises:
        RecordError: The folder is no run.
        UsageError: A pattern chooses no triple of the run.
        RunError: The run stored no maps, or not those of a triple that was named.
    """
    return stored_of(load_run(folder), patterns)


def stored_of(run: Run, patterns: Sequence[str], files: GivenFiles | None = None) -> Stored:
    """As ``open_stored``, of a run; maps that can be read again from ``files`` need not be stored."""
    chosen = _chosen(run, patterns)
    files = files or GivenFiles({}, {})
    without = [t for t in chosen if t.cam not in files.found and not run.has_column(t, MAP)]
    if without and (patterns or len(without) == len(chosen)):
        given = run.manifest.settings.get("maps", {})
        remedy = next((files.why(t.cam) for t in without if t.cam in files.gone), f"; {AGAIN}")
        if not files.gone and (theirs := next((t.cam for t in without if t.cam in given), "")):
            remedy = f"; those of {theirs} are the files of {given[theirs]['folder']}"
        raise RunError(f"{run.out}: the maps of {some(without, NAMED)} are not stored{remedy}")
    return Stored(run, [t for t in chosen if t not in without], without)


def given_again(run: Run, table: SampleTable, folders: Mapping[str, Path]) -> GivenFiles:
    """The files of a run's maps made elsewhere, opened again.

    Args:
        run: The run. table: Its images.
        folders: Where the files are now; left out: where the run found them.

    Raises:
        UsageError: A folder that is given is of no method of the run, cannot be used, or holds other maps.
    """
    about = run.manifest.settings.get("maps", {})
    if unknown := [name for name in folders if name not in about]:
        raise UsageError(
            f"--maps {unknown[0]}: {run.out} has no maps of this name; it has {', '.join(about) or 'none'}"
        )
    found, lost = dict[str, MapFolder](), dict[str, str]()
    for name, said in about.items():
        folder = folders.get(name, Path(said["folder"]))
        try:
            (opened,) = open_folders({name: folder}, table)
            if opened.sha256 != said["sha256"]:
                raise UsageError(f"--maps {name}={folder}: the maps have changed since the run read them")
            found[name] = opened
        except UsageError as error:
            if name in folders:
                raise
            lost[name] = str(error)
    return GivenFiles(found, lost)


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
