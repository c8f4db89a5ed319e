"""Members of a tar archive, read in place: one index pass, then random access by offset."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

_MEMBER = re.compile(r"^member://(\d+)\+(\d+)/(.*)::(.+)$", re.DOTALL)
_handles: dict[tuple[int, str], int] = {}
_lock = threading.Lock()


def member_path(archive: Path | str, name: str, offset: int, size: int) -> str:
    """Address of ``size`` bytes at ``offset`` of the (uncompressed) tar ``archive``, called ``name`` in it."""
    return f"member://{offset}+{size}/{name}::{archive}"


def is_member(path: str) -> bool:
    """Whether ``path`` is an address made by ``member_path``."""
    return path.startswith("member://")


def split_member(path: str) -> tuple[int, int, str, str]:
    """(offset, size, name, archive) of a member's address; ValueError for anything else."""
    match = _MEMBER.match(path)
    if match is None:
        raise ValueError(f"not an archive member: {path!r}")
    return int(match[1]), int(match[2]), match[3], match[4]


def read_member(path: str) -> bytes:
    """The member's bytes; OSError where the archive is gone or shorter than when it was indexed."""
    offset, size, name, archive = split_member(path)
    data = os.pread(_descriptor(archive), size, offset)
    if len(data) != size:
        raise OSError(f"{archive}: {name} ends after {len(data)} of {size} bytes; the archive is truncated")
    return data


def _descriptor(archive: str) -> int:
    key = (os.getpid(), archive)
    with _lock:
        if key not in _handles:
            _handles[key] = os.open(archive, os.O_RDONLY)
        return _handles[key]
