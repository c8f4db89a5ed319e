"""Members of a tar archive (plain, gzip, or a tar in it), read in place: one index pass, then access by offset."""

from __future__ import annotations

import bisect
import io
import os
import re
import tarfile
import threading
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..schema import DatasetError
from .shards import is_row, read_row

_MEMBER = re.compile(r"^member://(\d+)\+(\d+)/(.*)::(.+)$", re.DOTALL)
BLOCK = 512
"""Bytes of a tar header; a block of zeros is the end mark."""
_SPACING = 2 << 20
_READ = 1 << 16
_readers: dict[tuple[int, str], PlainReader | GzipReader] = {}
_lock = threading.Lock()


def member_path(archive: Path | str, name: str, offset: int, size: int) -> str:
    """Address of ``size`` bytes at ``offset`` of the uncompressed tar in ``archive``, called ``name`` in it."""
    return f"member://{offset}+{size}/{name}::{archive}"


def is_member(path: str) -> bool:
    """Whether ``path`` is an address within a file: made by ``member_path`` or ``Shards.path``."""
    return path.startswith("member://") or is_row(path)


def split_member(path: str) -> tuple[int, int, str, str]:
    """(offset, size, name, archive) of a member's address; ValueError for anything else."""
    match = _MEMBER.match(path)
    if match is None:
        raise ValueError(f"not an archive member: {path!r}")
    return int(match[1]), int(match[2]), match[3], match[4]


def read_member(path: str) -> bytes:
    """The member's bytes; OSError where the archive is gone or shorter than when it was indexed."""
    if is_row(path):
        return read_row(path)
    offset, size, name, archive = split_member(path)
    data = reader(archive).pread(size, offset)
    if len(data) != size:
        raise OSError(f"{archive}: {name} ends after {len(data)} of {size} bytes; the archive is truncated")
    return data


class PlainReader:
    """Random access to an uncompressed file; safe for threads."""

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        self._lock = threading.Lock()

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._descriptor).st_size

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` bytes at ``offset``."""
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, size, offset)
        with self._lock:  # Windows
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            return os.read(self._descriptor, size)


@dataclass
class _Point:
    """A decompressor that has produced ``output`` bytes from ``source`` bytes; ``tail``: the last of them."""

    output: int
    source: int
    state: Any
    tail: bytes = b""

    def copy(self) -> _Point:
        """An independent decompressor at the same place."""
        return _Point(self.output, self.source, self.state.copy())


class GzipReader:
    """Random access to the contents of a gzip file: the decompressor's state is kept every 2 MiB of output.

    The states grow as far as the file was read (about 40 kB each) and are shared by threads. Reading on where the
    last read ended goes straight on.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = PlainReader(path)
        self._length = self._file.length
        self._lock = threading.Lock()
        self._points = [_Point(0, 0, zlib.decompressobj(wbits=31))]
        self._cursor = self._points[0].copy()

    def pread(self, size: int, offset: int) -> bytes:
        """Up to ``size`` decompressed bytes at ``offset``; OSError where the stream is damaged or ends early."""
        with self._lock:
            at = bisect.bisect_right(self._points, offset, key=lambda p: p.output) - 1
            start = self._points[at]
            here = self._cursor
            near = here.output - len(here.tail) <= offset and here.output >= start.output
            if near or at == len(self._points) - 1:
                if not near:
                    self._cursor = start.copy()
                return self._read(self._cursor, size, offset)
            start = start.copy()
        return self._read(start, size, offset)

    def _read(self, at: _Point, size: int, offset: int) -> bytes:
        """Move ``at`` on until it has produced the wanted bytes."""
        begin = offset - (at.output - len(at.tail))
        parts = [at.tail[begin : begin + size]] if begin >= 0 else []
        wanted = size - sum(map(len, parts))
        while wanted > 0 and at.source < self._length:
            chunk = self._file.pread(_READ, at.source)
            if not chunk:
                break
            try:
                data = at.state.decompress(chunk)
            except zlib.error as error:
                raise OSError(f"{self._path}: damaged gzip data near byte {at.source:,}: {error}") from error
            at.source += len(chunk) - len(at.state.unused_data)
            skip = max(0, offset - at.output)
            if skip < len(data):
                parts.append(data[skip : skip + wanted])
                wanted -= len(parts[-1])
            at.output, at.tail = at.output + len(data), data
            if at.state.eof:
                at.state = zlib.decompressobj(wbits=31)
            if at is self._cursor and at.output - self._points[-1].output >= _SPACING:
                self._points.append(at.copy())
        return b"".join(parts)


def reader(archive: str) -> PlainReader | GzipReader:
    """The process's shared reader of an archive (a new one after a fork)."""
    key = (os.getpid(), archive)
    with _lock:
        if key not in _readers:
            _readers[key] = GzipReader(archive) if is_gzip(Path(archive)) else PlainReader(archive)
        return _readers[key]


def is_gzip(path: Path) -> bool:
    """Whether a file starts with gzip's magic number."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


class _Stream(io.RawIOBase):
    """Seekable stream over a reader's bytes ``start`` … ``stop`` (None: all), for ``tarfile``."""

    def __init__(self, source: PlainReader | GzipReader, start: int = 0, stop: int | None = None) -> None:
        self._source, self._start, self._stop, self._at = source, start, stop, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset if whence == 0 else self._at + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        at, size = self._start + self._at, len(buffer)
        data = self._source.pread(size if self._stop is None else max(0, min(size, self._stop - at)), at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def index_tar(archive: Path) -> dict[str, tuple[int, int]]:
    """``read_index`` of an archive, once a process as long as the file stays the same."""
    found = archive.stat()
    return _cached_index(archive, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=8)
def _cached_index(archive: Path, size: int, mtime_ns: int) -> dict[str, tuple[int, int]]:
    del size, mtime_ns
    return read_index(archive)


def read_index(archive: Path, start: int = 0, stop: int | None = None) -> dict[str, tuple[int, int]]:
    """Name -> (offset, bytes) of the regular files of a tar or tar.gz; links and devices are left out.

    ``start`` … ``stop``: where a tar lies in the (uncompressed) archive; offsets are the outer archive's.

    Raises:
        DatasetError: Not a tar archive, or it ends early (with the last complete member).
    """
    members: dict[str, tuple[int, int]] = {}
    last = "(none)"
    end = start
    try:
        source = reader(str(archive))
        # Headers lie far apart in a plain archive: a large buffer would read the pictures between them too.
        buffer = 1 << 16 if isinstance(source, GzipReader) else 1 << 10
        with tarfile.open(fileobj=io.BufferedReader(_Stream(source, start, stop), buffer), mode="r:") as tar:
            for member in tar:
                if member.isreg():
                    members[member.name.removeprefix("./")] = (start + member.offset_data, member.size)
                    last, end = member.name, start + member.offset_data + member.size
                tar.members = []  # type: ignore[attr-defined]
            # `tarfile` takes a header that is cut off, or no header at all, for the end: the rest would be lost.
            mark = source.pread(BLOCK, start + tar.offset)
            if len(mark) < BLOCK or any(mark):
                raise EOFError("it has no end mark where its last member ends")
        if end > start and (len(source.pread(1, end - 1)) != 1 or (stop is not None and end > stop)):
            raise EOFError(f"the data of {last} is cut off")
    except (tarfile.TarError, OSError, EOFError) as error:
        if isinstance(error, PermissionError):
            raise DatasetError(f"{archive}: permission denied") from error
        inner = f" (the tar at byte {start:,})" if start else ""
        raise DatasetError(
            f"{archive}{inner}: not a complete tar archive ({error}); {len(members):,} members before that, the last "
            f"{last}. Is the download unfinished ({archive.stat().st_size:,} bytes here)?"
        ) from error
    return members
