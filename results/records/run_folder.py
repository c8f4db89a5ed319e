"""What a run folder holds: its manifest, and whether a run may continue there."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from ...atomic import TEMP_SUFFIX
from ...model_errors import wrong_fields
from ...version import __version__
from .locks import LOCK_NAME
from .manifest import SCHEMA_VERSION, RunManifest
from .record_errors import RecordError, RunMismatchError

MANIFEST_NAME = "run.json"
JOBS_NAME = "jobs"
"""Folder of what a cluster's scheduler writes of a run's workers."""
TABLES_NAME = "tables"
"""Folder of a run's tables, inside the run's own."""
_WRITTEN = ("heads", "records", "shards")
"""Folders of what a run wrote; while none of them holds a file, there is nothing that another run could spoil."""


def read_manifest(out: Path) -> RunManifest:
    """The manifest of a run folder.

    Raises:
        RecordError: There is none, it is damaged, or another schema version wrote it (the message names both).
    """
    path = out / MANIFEST_NAME
    try:
        content = json.loads(path.read_bytes())
        version = content["schema_version"]
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(f"{out} is not a run folder: it has no {MANIFEST_NAME}") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError):
        raise damaged_manifest(out, "expected the JSON object that a run writes") from None
    if version != SCHEMA_VERSION:
        writer = content.get("code_version", "?")
        raise RecordError(
            f"{path}: schema version {version} (cambench {writer}); this cambench reads version {SCHEMA_VERSION}. "
            f"Read it with cambench {writer}, or run again"
        )
    try:
        return RunManifest.model_validate(content)
    except ValidationError as error:
        fields = "; ".join(wrong_fields(error, RunManifest)[:3])
        writer = content.get("code_version", "?")
        raise RecordError(
            f"{path}: written by cambench {writer}, not understood by {__version__}: {fields}. If cambench {writer} "
            f"cannot read it either, it is damaged. {_without_manifest(out)}"
        ) from None


def damaged_manifest(out: Path, why: str) -> RecordError:
    """The error of a run folder whose manifest contradicts itself or its records, with what to do."""
    return RecordError(f"{out / MANIFEST_NAME}: damaged; {why}. {_without_manifest(out)}")


def _without_manifest(out: Path) -> str:
    """What to do with a run folder whose manifest is lost."""
    heads = out / "heads"
    kept = f". Trained heads stay usable: move {heads} away first (--head-weights)" if heads.is_dir() else ""
    return (
        "Without it no record can be used, as nothing says what the records were computed from: put a copy back, or "
        f"delete {out} and give the run's command again{kept}"
    )


def check_folder(out: Path, manifest: RunManifest, *, alone: bool = False) -> RunManifest | None:
    """The stored manifest that ``manifest`` may continue; None for an empty or new folder. Writes nothing.

    ``alone``: no other process may be at work there, so that another run that has not written anything yet is none.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise RunMismatchError(out, ["it is a file, not a folder"])
    if (out / MANIFEST_NAME).exists():
        stored = read_manifest(out)
        different = manifest.differences(stored, code=False)
        if different and alone and not any(p.is_file() for name in _WRITTEN for p in (out / name).rglob("*")):
            return None
        if different:
            raise RunMismatchError(out, different)
        return stored
    foreign = sorted(
        p.name
        for p in out.iterdir()
        if not (p.name.startswith(LOCK_NAME) or p.name.endswith(TEMP_SUFFIX) or p.name == JOBS_NAME)
    )
    if foreign:
        raise RunMismatchError(out, [f"no {MANIFEST_NAME}, but other files: {', '.join(map(repr, foreign[:5]))}"])
    return None
