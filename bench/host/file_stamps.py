"""Size and time of files, by which a request given again is told from one whose files have changed."""

from __future__ import annotations

from pathlib import Path


def stamp(path: Path) -> list[int]:
    """Size and time of last change of a file or folder; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]


def folder_stamp(folder: Path) -> list[int]:
    """Number, size and last change of all files of a folder and below."""
    try:
        found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    except OSError:
        return []
    return [len(found), sum(f.st_size for f in found), max((f.st_mtime_ns for f in found), default=0)]
