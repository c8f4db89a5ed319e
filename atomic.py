"""Files that are either whole or absent, whatever kills the writer."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import socket
import time
import uuid
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

TEMP_SUFFIX = ".tmp"
_TEMP = re.compile(r"\.(?:(?P<host>[0-9a-f]{8})-)?(?P<owner>\d+)-[0-9a-f]+" + re.escape(TEMP_SUFFIX) + "$")
CLOCK_S = 60.0
"""Seconds by which the clocks of a file system and of a machine may differ."""
FOREIGN_DAYS = 7
"""Days after which a temporary of another machine, whose processes cannot be asked here, counts as left behind."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; what is written there is flushed and renamed when the block ends well.

    Raises:
        OSError: The folder or the file cannot be written; ``path``, which the error names, stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        reason = "a folder stands where this file belongs: move it away, and give the same command again"
        raise IsADirectoryError(errno.EISDIR, reason, str(path))
    temp = temporary_of(path)
    try:
        yield temp
        _sync(temp)
        # The folder is not flushed: a rename that a power cut undoes leaves a shard that counts as not done.
        temp.replace(path)
    except OSError as error:
        # A full disk is met while writing, which names no file.
        if error.errno is None or (error.filename is not None and str(error.filename) != str(temp)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        # A folder that cannot be written refuses this too, and the first error is the one that says why.
        with suppress(OSError):
            temp.unlink(missing_ok=True)


def temporary_of(path: Path) -> Path:
    """A name beside ``path`` that says which process writes there, so that what it leaves when killed is removed."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMP_SUFFIX}")


def remove_leftovers(path: Path) -> None:
    """Remove temporaries of ``path``, files or folders, whose writers on this machine were killed."""
    for temp in path.parent.glob(f".{glob.escape(path.name)}.*{TEMP_SUFFIX}"):
        _remove_if_left(temp)


def remove_leftovers_under(folder: Path) -> None:
    """As ``remove_leftovers``, for everything in a folder and below; others may write and remove there meanwhile."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            _remove_if_left(Path(place, name))


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, atomically; raises as ``atomic_path``."""
    remove_leftovers(path)
    with atomic_path(path) as temp:
        temp.write_text(text, encoding="utf-8", newline="\n")


def _remove_if_left(temp: Path) -> None:
    found = _TEMP.search(temp.name)
    if found is None:
        return
    try:
        written = temp.stat().st_mtime
        if found["host"] in (None, _host()):
            left = not _runs(int(found["owner"]), written)
        else:
            left = time.time() - written > FOREIGN_DAYS * 86400
        if left and temp.is_dir():
            shutil.rmtree(temp, ignore_errors=True)
        elif left:
            temp.unlink(missing_ok=True)
    except OSError:
        return  # gone meanwhile, or not ours to remove


def _runs(process: int, since: float) -> bool:
    """Whether a process runs that was there at a time: numbers of processes are given again."""
    import psutil

    try:
        found = psutil.Process(process)
        # A killed one whose parent has not asked for it yet (in containers: for ever) writes nothing any more.
        return bool(found.create_time() <= since + CLOCK_S) and found.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OverflowError, ValueError):
        return False
    except psutil.Error:
        return True  # somebody else's


@lru_cache(maxsize=1)
def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _sync(path: Path) -> None:
    # Windows flushes only what is open for writing.
    with path.open("rb+") as file:
        os.fsync(file.fileno())
