"""Arrow tables on disk, one folder a key; written aside and renamed, so that readers never see half a table."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets as hf
import pyarrow as pa

from ...atomic import remove_leftovers_under, temporary_of
from ...home import expanded
from ..disk.urls import local_name, url_of
from ..schema import DatasetError
from .stamps import others_may_write, stamp_files

FORMAT = 1
"""Version of the layout below; part of every key."""
ROWS, META = "rows.arrow", "meta.json"
READ_BACK_TRIES, READ_BACK_PAUSE_S = 40, 0.05


def cache_root() -> Path:
    """``$CAMBENCH_CACHE``, else ``~/.cache/cambench``.

    Raises:
        DatasetError: It is a URL, nobody knows the home folder, or the name is one that Arrow cannot open.
    """
    named = local_name(os.environ.get("CAMBENCH_CACHE", ""))
    if url_of(named):
        raise DatasetError(f"CAMBENCH_CACHE {named}: the cache is a folder, of this machine or a shared one, not a URL")
    place = expanded(named or "~/.cache/cambench")
    if not named and not place.is_absolute():
        raise DatasetError("no home folder is known for the cache: set HOME, or CAMBENCH_CACHE to a folder of yours")
    try:
        str(place).encode()
    except UnicodeEncodeError:
        raise DatasetError(f"the name of the cache folder {str(place)!r} is not UTF-8; set CAMBENCH_CACHE") from None
    return place


def file_digest(path: Path) -> str:
    """SHA-256 hex of a file's contents."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def listing_digest(folder: Path) -> str:
    """SHA-256 hex of names, sizes and times in a folder (for folders of very many small files).

    Of both times: a tool that edits a file and gives it its old time back changes the other one.
    """
    with os.scandir(folder) as entries:
        stats = ((e.name, e.stat()) for e in entries)
        facts = sorted((name, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for name, s in stats)
    return hashlib.sha256(json.dumps(facts).encode("utf-8", "surrogateescape")).hexdigest()


def key_of(parts: Mapping[str, Any]) -> str:
    """First 24 hex digits of the SHA-256 of canonical JSON of ``parts`` and the cache format."""
    text = json.dumps({"format": FORMAT, **parts}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def watch(folders: Iterable[Path]) -> dict[str, int]:
    """Modification time (ns) of each folder: it changes when a file is added to it or removed from it."""
    return {str(f): f.stat().st_mtime_ns for f in folders}


@dataclass(frozen=True)
class Looked:
    """A cache entry as it was found: ``rows`` and ``meta``, or why there is none (empty where there never was)."""

    rows: hf.Dataset | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""


DAMAGED = "is damaged: its bytes are not those that were written"
CHANGED = "speaks of files that have changed since"


def inspect(entry: Path, *, just_written: bool = False) -> Looked:
    """Open a cache entry, with memory-mapped rows, if it is what was written and the disk is as it was.

    The rows and their description are compared with their SHA-256; folders by their modification time, files by size
    and time (``stamps``). ``just_written``: files may have changed while the table was built, which the next opening
    will not take.
    """
    if not entry.is_dir():
        return Looked()
    if not ((entry / META).is_file() and (entry / ROWS).is_file()):
        return Looked(why=DAMAGED)
    try:
        meta: dict[str, Any] = json.loads((entry / META).read_text(encoding="utf-8"))
        if meta.pop("seal", None) != seal_of(meta) or file_digest(entry / ROWS) != meta["sha256"]:
            return Looked(why=DAMAGED)
        if any(Path(folder).stat().st_mtime_ns != stamp for folder, stamp in meta["watch"].items()):
            return Looked(why=CHANGED)
        rows = hf.Dataset.from_file(str(entry / ROWS))
        if len(rows) != meta["rows"]:
            return Looked(why=DAMAGED)
        stamp, latest = meta["stamp"], meta["stamp"]["latest"]
        if stamp_files(rows) != stamp or (latest >= meta["started"] and not just_written):
            return Looked(why=CHANGED)
    except FileNotFoundError:
        return Looked(why=CHANGED)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException):
        return Looked(why=DAMAGED)
    return Looked(rows, meta)


def seal_of(meta: Mapping[str, Any]) -> str:
    """SHA-256 hex of a description."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def read_back(entry: Path) -> Looked:
    """``inspect`` of an entry that was just committed.

    Another process that commits the same key moves the old folder away before its own takes the place: wait that out.
    """
    found = Looked()
    for _ in range(READ_BACK_TRIES):
        found = inspect(entry, just_written=True)
        if found.rows is not None:
            break
        time.sleep(READ_BACK_PAUSE_S)
    return found


_told: set[Path] = set()


def shared_with_others(entry: Path) -> str:
    """A sentence, once a process, where other users may write to the cache folder; empty otherwise."""
    root = cache_root()
    folders = [p for p in (entry.parent, *entry.parent.parents) if p == root or root in p.parents]
    open_to = [f for f in folders if f.is_dir() and others_may_write(f)]
    if not open_to or root in _told:
        return ""
    _told.add(root)
    return f"the cache folder {open_to[-1]} may be written by other users, who could change tables"


class Writer:
    """Streams record batches into a new cache entry; ``commit`` makes it visible under its key.

    Raises:
        DatasetError: The cache folder cannot be written.
    """

    def __init__(self, entry: Path) -> None:
        self.entry = entry
        self.folder = temporary_of(entry)
        remove_leftovers_under(entry.parent)
        try:
            self.folder.mkdir(parents=True)
        except OSError as error:
            raise DatasetError(
                f"cache folder {entry.parent} cannot be written ({error.strerror}); "
                "set CAMBENCH_CACHE to a folder that can"
            ) from error
        self.started = time.time_ns()
        self._sink: pa.OSFile | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None
        self.rows = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append one record batch."""
        with self._writable():
            if self._writer is None:
                self._sink = pa.OSFile(str(self.folder / ROWS), "wb")
                self._writer = pa.ipc.new_stream(self._sink, batch.schema)
            self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def commit(self, meta: Mapping[str, Any]) -> None:
        """Write the description and rename the folder to its key, replacing a stale entry."""
        with self._writable():
            self._close()
            rows = self.folder / ROWS
            stamp = stamp_files(hf.Dataset.from_file(str(rows)))
            own = {"rows": self.rows, "sha256": file_digest(rows), "stamp": stamp, "started": self.started}
            # What JSON gives back is what is sealed: tuples become lists.
            told = json.loads(json.dumps({**meta, **own}))
            (self.folder / META).write_text(json.dumps({**told, "seal": seal_of(told)}, indent=1), encoding="utf-8")
        for _ in range(READ_BACK_TRIES):
            try:
                self.folder.rename(self.entry)
                return
            except OSError:
                # Another process committed first, or the entry is stale: ours is as good, so take its place.
                stale = temporary_of(self.entry)
                try:
                    self.entry.rename(stale)
                except FileNotFoundError:
                    continue
                shutil.rmtree(stale, ignore_errors=True)
        raise DatasetError(f"cache entry {self.entry} cannot be written; set CAMBENCH_CACHE to another folder")

    def abort(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            self._close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        """What was written is removed and the cache named where it cannot be written, as on a full disk."""
        try:
            yield
        except OSError as error:
            self.abort()
            raise DatasetError(
                f"cache folder {self.entry.parent} cannot be written ({error}); free space there, or set "
                "CAMBENCH_CACHE to another folder"
            ) from error

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._sink is not None:
            self._sink.close()
        self._writer = self._sink = None
