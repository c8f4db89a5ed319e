"""A finished run given again: recognised from its folder alone, in a moment, without writing there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...datasets.open import DataSource
from ...home import expanded
from ...results.records.locks import holders
from ...results.records.manifest import RunManifest
from ...results.records.record_errors import RecordError, ResultsError
from ...results.records.run_folder import MANIFEST_NAME, TABLES_NAME, read_manifest
from ...version import __version__
from ..host.file_stamps import folder_stamp, stamp
from .planning.config import RunConfig

REQUEST = "request"
"""Where ``run.json`` keeps, among its settings, what was asked for."""
SETTLED = "settled_options"
"""Among a run's settings and a table's facts: options of the data set that were chosen for the user."""
TABLES = (
    *("leaderboard.md", "leaderboard.tex", "scores.md", "scores.tex", "intervals.md", "intervals.tex", "scores.csv"),
    *("throughput.md", "throughput.tex", "throughput.csv"),
)
"""What a run writes there, in the order in which it says so: named here, as tables import far more than this asks."""
_NO_MATTER = {
    "out",
    "dest",
    "workers",
    "cache_images",
    "box_threads",
    "box_engine",
    "lock",
    "retrain",
    "on",
    "processes",
    "devices",
    "on_options",
}


def request_of(config: RunConfig) -> dict[str, Any]:
    """What a run is asked for, with size and time of every file that is given for it; comparable by equality."""
    files = [*config.plugins, *config.weights.values(), *config.head_weights.values(), *config.softmax_weights.values()]
    return {
        "fields": config.model_dump(mode="json", exclude=_NO_MATTER),
        "files": [[str(file), *stamp(expanded(file))] for file in files],
        "maps": [[name, *folder_stamp(expanded(folder))] for name, folder in config.maps.items()],
        "root": [] if config.root is None else stamp(expanded(config.root)),
    }


def fields_asked(manifest: RunManifest) -> dict[str, Any]:
    """The fields of the ``RunConfig`` that a run was started with; empty where its record does not say."""
    request = manifest.settings.get(REQUEST)
    fields = request.get("fields") if isinstance(request, dict) else None
    return dict(fields) if isinstance(fields, dict) else {}


def source_asked(manifest: RunManifest) -> DataSource:
    """The data that a run was asked for, with root and options where its record says them."""
    fields, data = fields_asked(manifest), manifest.dataset
    name, root, options = (fields.get(field) for field in ("dataset", "root", "options"))
    options = options if isinstance(options, dict) else {}
    settled = manifest.settings.get(SETTLED)
    return DataSource(
        name if isinstance(name, str) else data.name,
        Path(root) if isinstance(root, str) else None,
        data.split,
        {**options, **settled} if isinstance(settled, dict) else options,
    )


def finished_before(config: RunConfig) -> list[Path] | None:
    """``run.json`` and the tables of a folder that holds this very run, finished; None where anything is to be done.

    The request, its files and this version must be the same, every part and marker must be there, and nothing in the
    folder may be younger than its ``run.json`` but the tables. The data are not read again, nor are the records.
    """
    out, manifest = config.out, closed_before(config)
    if manifest is None:
        return None
    try:
        written = (out / MANIFEST_NAME).stat().st_mtime_ns
        expected = manifest.shards * len({manifest.canonical(t) for t in manifest.triples})
        times, marks = list(_times(out / "records")), list(_times(out / "shards"))
        networks = len({t.backbone for t in manifest.triples})
        if (len(times), len(marks)) != (expected, manifest.shards * networks) or max([0, *times, *marks]) > written:
            return None
        folder = tables_folder(config)
        tables = [folder / name for name in TABLES if manifest.protocol.loc_threshold != "val"]
        if any(table.stat().st_mtime_ns < written for table in tables):
            return None
    except OSError:
        return None
    with suppress(ResultsError):
        holders(out)  # which removes what a process killed after its last file said of itself
    return [out / MANIFEST_NAME, *tables]


def given_again(config: RunConfig) -> list[Path] | None:
    """As ``finished_before``; but tables in another folder may be another run's, and are made anew."""
    return finished_before(config) if config.dest is None else None


def closed_before(config: RunConfig) -> RunManifest | None:
    """The manifest of a folder where this very request was finished by this version; its records may be gone since."""
    try:
        manifest = read_manifest(config.out)
    except RecordError:
        return None
    same = manifest.finished and manifest.code_version == __version__
    return manifest if same and manifest.settings.get(REQUEST) == request_of(config) else None


def tables_folder(config: RunConfig) -> Path:
    """Where the tables of a run go."""
    return config.out / TABLES_NAME if config.dest is None else config.dest


def _times(folder: Path) -> Iterator[int]:
    """Times of change of all files below a folder, temporaries apart."""
    for entry in os.scandir(folder):
        if entry.is_dir():
            yield from _times(Path(entry.path))
        elif not entry.name.startswith("."):
            yield entry.stat().st_mtime_ns
