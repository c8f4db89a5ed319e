"""The consoles of the product: plain lines on standard output and standard error."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)
_TOGETHER = 4
"""Files of one folder that are said in one line."""


def say_written(paths: Iterable[str | Path]) -> None:
    """A line for each file that was written; files that lie together in a line of their folder."""
    folders: dict[Path, list[Path]] = {}
    for path in map(Path, paths):
        folders.setdefault(path.parent, []).append(path)
    for folder, files in folders.items():
        names = ", ".join(file.name for file in files)
        lines = map(str, files) if len(files) < _TOGETHER else [f"{len(files)} files in {folder}: {names}"]
        for line in lines:
            out.print(f"wrote {line}", soft_wrap=True, markup=False)


def make_streams_printable() -> None:
    r"""Let a terminal or file of another encoding (``LANG=C``) show what it lacks as ``\uNNNN``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
