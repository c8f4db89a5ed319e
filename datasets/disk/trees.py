"""A data set's files behind one face, whether they lie in a folder or still in their tar archive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..schema import DatasetError
from .archives import index_tar, member_path, read_member
from .files import MISSING, FileIndex
from .textfiles import decode_lines, read_lines


class Tree(Protocol):
    """Files by their path below the data set's own top folder."""

    label: str

    def lines(self, name: str) -> list[str]:
        """Lines of a list file; ``DatasetError`` where it is missing or not UTF-8."""

    def has(self, name: str) -> bool:
        """Whether the file exists."""

    def paths(self, names: Sequence[str]) -> list[str]:
        """Addresses for the table, also of files that are missing."""

    def sizes(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Bytes of each file; negative where it is missing."""

    def children(self, folder: str) -> Iterable[str]:
        """Names of the files directly in a folder."""

    def folders(self) -> list[Path]:
        """Folders whose listing was used."""


class FolderTree:
    """Files of a folder."""

    def __init__(self, base: Path, index: FileIndex | None = None) -> None:
        self.base, self.label = base, str(base)
        self.index = index or FileIndex()

    def lines(self, name: str) -> list[str]:
        """Lines of a list file."""
        return read_lines(self.base / name)

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        return (self.base / name).is_file()

    def paths(self, names: Sequence[str]) -> list[str]:
        """Absolute paths."""
        base = f"{self.base}/"
        return [self.index.spelled(base, n) for n in names]

    def sizes(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Bytes of each file; negative where it is missing."""
        return self.index.sizes(self.paths(names))

    def children(self, folder: str) -> Iterable[str]:
        """Names of the files directly in a folder."""
        return self.index.listing(f"{self.base}/{folder}".rstrip("/"))

    def folders(self) -> list[Path]:
        """Folders that were listed."""
        return self.index.folders()


class TarTree:
    """Files of a tar archive below ``prefix``, read in place."""

    def __init__(self, archive: Path, prefix: str = "") -> None:
        self.archive, self.prefix = archive, prefix
        self.label = f"{archive}:{prefix}".rstrip("/")
        self._members = index_tar(archive)

    def lines(self, name: str) -> list[str]:
        """Lines of a list file."""
        if not self.has(name):
            raise DatasetError(f"{self.label}/{name}: not in the archive; is it complete?")
        return decode_lines(read_member(self.paths([name])[0]), f"{self.label}/{name}")

    def has(self, name: str) -> bool:
        """Whether the archive has the file."""
        return self.prefix + name in self._members

    def paths(self, names: Sequence[str]) -> list[str]:
        """Addresses of archive members."""
        absent = (0, 0)
        return [member_path(self.archive, self.prefix + n, *self._members.get(self.prefix + n, absent)) for n in names]

    def sizes(self, names: Sequence[str]) -> npt.NDArray[np.int64]:
        """Bytes of each member; negative where it is missing."""
        absent = (0, MISSING)
        found = (self._members.get(self.prefix + n, absent)[1] for n in names)
        return np.fromiter(found, np.int64, len(names))

    def children(self, folder: str) -> Iterable[str]:
        """Names of the members directly in a folder."""
        start = f"{self.prefix}{folder}".rstrip("/")
        start = f"{start}/" if start else ""
        return [m[len(start) :] for m in self._members if m.startswith(start) and "/" not in m[len(start) :]]

    def folders(self) -> list[Path]:
        """None: the archive's own size and time are part of the key."""
        return []
