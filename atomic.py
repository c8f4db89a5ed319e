"""Files that are either whole or absent, whatever kills the writer."""

from __future__ import annotations

import glob
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TEMP_SUFFIX = ".tmp"
_TEMP = re.compile(r"\.(\d+)-[0-9a-f]{8}" + re.escape(TEMP_SUFFIX) + "$")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; what is written there is flushed and renamed when the block ends well.

    Raises:
        OSError: The folder or the file cannot be written; ``path`` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMP_SUFFIX}")
    try:
        yield temp
        _sync(temp)
        # The folder is not flushed: a rename that a power cut undoes leaves a shard that counts as not done.
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove temporaries of ``path`` whose writers on this machine were killed (for files too large to leave lying)."""
    for temp in path.parent.glob(f".{glob.escape(path.name)}.*{TEMP_SUFFIX}"):
        number = temp.name.removeprefix(f".{path.name}.").partition("-")[0]
        if number.isdigit() and not _runs(int(number)):
            temp.unlink(missing_ok=True)


def remove_leftovers_under(folder: Path) -> None:
    """Remove the temporaries of every file in a folder and below whose writers on this machine were killed."""
    for temp in folder.rglob(f".*{TEMP_SUFFIX}"):
        owner = _TEMP.search(temp.name)
        if owner is not None and not _runs(int(owner[1])):
            temp.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, atomically; raises as ``atomic_path``."""
    with atomic_path(path) as temp:
        temp.write_text(text, encoding="utf-8", newline="\n")


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True  # somebody else's
    return True


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
