"""What the files that a table speaks of looked like when it was built: sizes and times, compared at every opening."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets as hf
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..disk.archives import is_member

LIMIT = 1 << 16
"""Files whose size and time are compared; of larger tables every k-th path's. 50,000 files take about 0.2 s where the
disk is local."""
THREADS, PART = 8, 2048
"""Threads, which hide the waits of a network file system, and files that one takes at a time."""


def stamp_files(rows: hf.Dataset) -> dict[str, Any]:
    """The digest of sizes and modification times (ns) of the rows' files, how many there are, and the latest time.

    An image that is overwritten in place changes neither its folder's time nor the lists: only its own size and time.
    """
    paths, every = _paths(rows)
    stats = _stats(paths)
    digest = hashlib.sha256("\0".join(paths).encode("utf-8", "surrogateescape") + stats.tobytes()).hexdigest()
    return {"sha256": digest, "compared": len(paths), "of": every, "latest": int(stats[:, 1].max(initial=0))}


def _paths(rows: hf.Dataset) -> tuple[list[str], int]:
    """Distinct files of a sample of the rows (archives for their members), and how many paths all rows have."""
    data = rows.data.table if hasattr(rows.data, "table") else rows.data
    masks = pc.list_flatten(data["masks"])
    columns = [pc.struct_field(c, "path") for c in (data["image"], masks, data["ignore"])]
    columns = [c.drop_null() for c in columns]
    every = sum(len(c) for c in columns)
    step = max(1, -(-every // LIMIT))
    names: Iterable[str] = (
        p for c in columns for p in c.take(pa.array(range(0, len(c), step), pa.int64())).to_pylist()
    )
    return list(dict.fromkeys(p.rpartition("::")[2] if is_member(p) else p for p in names)), every


def _stats(paths: list[str]) -> npt.NDArray[np.int64]:
    """Size and modification time (N,2); -1 where there is no file."""
    parts = [paths[i : i + PART] for i in range(0, len(paths), PART)]
    with ThreadPoolExecutor(THREADS, "stat") as pool:
        found = [np.array(part, np.int64) for part in pool.map(_stat, parts)]
    return np.concatenate(found) if found else np.zeros((0, 2), np.int64)


def _stat(paths: list[str]) -> list[tuple[int, int]]:
    result = []
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116
        except OSError:
            result.append((-1, -1))
        else:
            result.append((found.st_size, found.st_mtime_ns))
    return result


def others_may_write(folder: Path) -> bool:
    """Whether users other than this one (and root) may change what lies in a folder."""
    if not hasattr(os, "getuid"):
        return False
    found = folder.stat()
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o002:
        return True
    return bool(found.st_mode & 0o020) and not _own_group(found.st_gid)


def _own_group(group: int) -> bool:
    """Whether a group is the user's alone, as many systems make one for each user."""
    import grp
    import pwd

    try:
        entry, user = grp.getgrgid(group), pwd.getpwuid(os.getuid())
    except KeyError:
        return False
    return not set(entry.gr_mem) - {user.pw_name} and (entry.gr_gid == user.pw_gid or group == 0)
