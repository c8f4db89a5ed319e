"""What a download must satisfy: room on the disk, size and checksum as published."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..schema import DatasetError

Outcome = Literal["downloaded", "resumed", "already there"]


@dataclass(frozen=True)
class FileReport:
    """One file: where it is, how it got there, and what was extracted (number of files; 0: nothing to extract)."""

    name: str
    path: Path
    outcome: Outcome
    size: int
    checksum: str
    extracted: int = 0


def check_space(folder: Path, needed: int) -> None:
    """``DatasetError`` where the disk has fewer than ``needed`` bytes free."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DatasetError(f"{folder}: {needed:,} bytes needed, {free:,} free")


def verify(path: Path, size: int, checksum: str, fix: str = "delete it and run again") -> None:
    """Size and checksum (``md5:…``, ``sha256:…``) as published; ``DatasetError`` says what differs, and the ``fix``."""
    found = path.stat().st_size
    if size and found != size:
        raise DatasetError(f"{path}: {found:,} bytes, published are {size:,}; {fix}")
    if checksum:
        kind, _, expected = checksum.partition(":")
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, kind).hexdigest()
        if actual != expected:
            raise DatasetError(f"{path}: {kind} {actual}, published is {expected}; {fix}")
