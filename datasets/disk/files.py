"""What lies on disk: bulk existence and size look-ups, one directory listing per folder."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

MISSING, UNREADABLE = -1, -2


class FileIndex:
    """File sizes by path, from one ``scandir`` per folder (a folder is listed on first use and kept)."""

    def __init__(self) -> None:
        self._folders: dict[str, dict[str, int] | None] = {}
        self.denied: list[str] = []

    def folder(self, path: str) -> dict[str, int]:
        """Name -> bytes of the files of a folder; empty where it is missing. Broken links and loops are not files."""
        if path not in self._folders:
            self._folders[path] = self._scan(path)
        return self._folders[path] or {}

    def listing(self, path: str) -> dict[str, int]:
        """``folder`` where its files are the rows: PermissionError where it may not be listed, and rows were lost."""
        files = self.folder(path)
        if path in self.denied:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return files

    def _scan(self, path: str) -> dict[str, int] | None:
        try:
            with os.scandir(path or ".") as entries:
                return {e.name: size for e in entries if (size := _size(e)) is not None}
        except PermissionError:
            self.denied.append(path)
            return None
        except (OSError, ValueError):
            # ValueError: a name that can be no folder's, such as one with a null character.
            return None

    def size(self, path: str) -> int:
        """Bytes of one file; ``MISSING``, or ``UNREADABLE`` where its folder may not be listed."""
        head, _, tail = path.rpartition("/")
        size = self.folder(head).get(tail)
        if size is not None:
            return size
        return UNREADABLE if head in self.denied else MISSING

    def spelled(self, base: str, name: str) -> str:
        """The path of ``name`` below ``base``, its accents composed or decomposed as on disk.

        macOS decomposes names, lists that are written elsewhere compose them: they look alike and are different bytes.
        """
        if name.isascii() or self.size(base + name) != MISSING:
            return base + name
        others = (base + unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
        return next((path for path in others if self.size(path) >= 0), base + name)

    def sizes(self, paths: Sequence[str]) -> npt.NDArray[np.int64]:
        """Bytes of each file, with ``MISSING`` and ``UNREADABLE`` as in ``size``."""
        return np.fromiter((self.size(p) for p in paths), np.int64, len(paths))

    def folders(self) -> list[Path]:
        """The folders that exist and were listed; for one that is missing, the folder in which it would appear."""
        found = (Path(p) for p in self._folders)
        return list(dict.fromkeys(p if p.is_dir() else next(q for q in p.parents if q.is_dir()) for p in found))


def _size(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat().st_size if entry.is_file() else None
    except OSError:
        return None
