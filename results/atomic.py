"""Files that are either whole or absent, and file names for any registered name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

TEMP_SUFFIX = ".tmp"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; what is written there is flushed and renamed when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = path.with_name(f".{path.name}.{os.getpid()}{TEMP_SUFFIX}")
    try:
        yield temp
        _sync(temp)
        # The folder is not flushed: a rename that a power cut undoes leaves a shard that counts as not done.
        temp.replace(path)
    finally:
        temp.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with ``\\n`` line ends, atomically."""
    with atomic_path(path) as temp:
        temp.write_text(text, encoding="utf-8", newline="\n")


def plain_text(text: str) -> str:
    """``text`` with bytes that are not UTF-8 (names of other encodings) written as ``\\udcNN``, so it can be stored."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def safe_name(name: str) -> str:
    """``name`` as one path component: letters, digits and ``_ . - + ~`` stay, the rest is percent-encoded."""
    encoded = quote(name, safe="+", errors="surrogateescape")
    return encoded.replace(".", "%2E", 1) if encoded.startswith(".") else encoded


def plain_name(component: str) -> str:
    """Inverse of ``safe_name``."""
    return unquote(component, errors="surrogateescape")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
