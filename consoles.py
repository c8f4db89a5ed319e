"""The consoles of the product: plain lines on standard output and standard error."""

from __future__ import annotations

import io
import sys

from rich.console import Console

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def make_streams_printable() -> None:
    r"""Let a terminal or file of another encoding (``LANG=C``) show what it lacks as ``\uNNNN``."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
