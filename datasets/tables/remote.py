"""A data set's root on any file system that fsspec knows (``s3://``, ``gs://``, ``hf://``, ``https://`` …).

What lies there is copied once into the cache, file by file, and read from the copy: pictures are opened at random and
by every process of a run. A second look costs a listing; what changed there since is fetched again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from ...atomic import write_text
from ...progress import progress
from ..disk.urls import check_protocol
from ..schema import DatasetError
from .cache import cache_root

_AT_ONCE = 256
"""Files that are asked for together; what was fetched is noted after each of these."""
_VERSIONS = ("ETag", "etag", "sha256", "md5", "mtime", "LastModified", "last_modified", "updated", "created")
"""What file systems say of a file's version."""
STATE = "fetched.jsonl"
"""One file a line, its name and version. A fetch adds lines, so that a million names are not written each time."""


def local_copy(url: str) -> Path:
    """The copy of a folder or file in the cache, brought up to date with what lies at ``url``.

    Raises:
        DatasetError: The URL cannot be read, nothing lies there, a name leads out of the folder, or the disk is full.
    """
    import fsspec

    check_protocol(url)
    try:
        system, path = fsspec.core.url_to_fs(url)
        if "file" in _protocols(system):
            return Path(path)
        found: Mapping[str, Any] = system.find(path, detail=True)
        whole = len(found) == 1 and path in found
    except Exception as error:  # each file system has errors of its own
        raise DatasetError(f"root {url} cannot be listed: {_said(error)}") from error
    if not found:
        raise DatasetError(f"root {url}: there is no file")
    place = cache_root() / "roots" / hashlib.sha256(url.encode()).hexdigest()[:16]
    base = place / (PurePosixPath(path).name or "root")
    place.mkdir(parents=True, exist_ok=True)
    names = {name: "" if whole else _below(name, path, url) for name in found}
    with FileLock(place / "copying.lock"):
        _bring(system, {name: (base / names[name], _version(info)) for name, info in found.items()}, place, url)
    return base


def _bring(system: Any, wanted: Mapping[str, tuple[Path, list[Any]]], place: Path, url: str) -> None:
    """Fetch what is not there, or is of another version; remove what is no longer at the URL."""
    state = _noted(place / STATE)
    kept = {n: v for n, (file, v) in wanted.items() if state.get(n) == v and _has(file, v[0])}
    lacking = [name for name in wanted if name not in kept]
    gone = [name for name in state if name not in wanted]
    if not lacking and not gone:
        return
    needed = sum(wanted[name][1][0] or 0 for name in lacking)
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DatasetError(f"{place}: {needed:,} bytes of {url} are to be copied there, {free:,} are free")
    write_text(place / STATE, _lines(kept))
    title = f"copying {url} ({needed / 1e6:,.0f} MB)"
    with progress(title, len(lacking), "files") if lacking else nullcontext() as bar:
        for some in (lacking[at : at + _AT_ONCE] for at in range(0, len(lacking), _AT_ONCE)):
            _fetch(system, {name: wanted[name] for name in some}, place, url)
            if bar is not None:
                bar.advance(len(some))
    _remove(place, {file for file, _ in wanted.values()})


def _fetch(system: Any, wanted: Mapping[str, tuple[Path, list[Any]]], place: Path, url: str) -> None:
    """Some files, noted when they are there."""
    for folder in {file.parent for file, _ in wanted.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        system.get(list(wanted), [str(file) for file, _ in wanted.values()])
    except Exception as error:
        raise DatasetError(f"{url}: copying to {place} stopped: {_said(error)}; the same command goes on") from error
    with (place / STATE).open("a", encoding="utf-8") as notes:
        notes.write(_lines({name: version for name, (_, version) in wanted.items()}))


def _noted(file: Path) -> dict[str, Any]:
    """Versions by name; a line that was cut by a kill is left out, so that its file is fetched again."""
    found: dict[str, Any] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return found
    for line in lines:
        try:
            name, version = json.loads(line)
        except (ValueError, TypeError):
            continue
        found[name] = version
    return found


def _lines(versions: Mapping[str, Any]) -> str:
    return "".join(json.dumps([name, version]) + "\n" for name, version in versions.items())


def _remove(place: Path, wanted: Iterable[Path]) -> None:
    keep = {*wanted, place / STATE, place / "copying.lock"}
    for file in place.rglob("*"):
        if file.is_file() and file not in keep:
            file.unlink(missing_ok=True)


def _below(name: str, path: str, url: str) -> str:
    """A file's name below the root; ``DatasetError`` where it would lead out of it."""
    rest = name.removeprefix(path).lstrip("/")
    if not name.startswith(path) or not rest or any(part in ("", ".", "..") for part in rest.split("/")):
        raise DatasetError(f"root {url}: a file there is called {name!r}, which is no name below it")
    return rest


def _version(info: Mapping[str, Any]) -> list[Any]:
    """Bytes of a file, and what its file system says of its version."""
    return [info.get("size"), next((str(info[key]) for key in _VERSIONS if info.get(key) is not None), "")]


def _has(file: Path, size: int | None) -> bool:
    return file.is_file() and (size is None or file.stat().st_size == size)


def _protocols(system: Any) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
