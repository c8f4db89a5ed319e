"""The kernels' machine code, made by a process of its own beside whatever the first process has to do meanwhile.

What that process compiles, numba keeps on disk; this one loads it from there. Nothing here imports numba or torch.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import threading
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

_lock = threading.Lock()
_helper: subprocess.Popen[bytes] | None = None
HANGS = 600.0
"""Seconds after which nobody waits for the process any more."""


def begin() -> None:
    """Start to compile, unless that was done on this machine, or is under way; returns at once."""
    global _helper
    with _lock:
        if _helper is not None or is_done():
            return
        # Without a process of its own (a sandbox, say) the first use compiles, as it always can.
        with suppress(OSError):
            _helper = subprocess.Popen(
                [sys.executable, "-m", f"{__package__}.compile_all"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )


def busy() -> bool:
    """Whether the process that ``begin`` started is still at it."""
    return _helper is not None and _helper.poll() is None


def wait() -> None:
    """Wait until ``busy`` is False, or so long that it hangs: then the first use compiles."""
    if _helper is not None:
        with suppress(subprocess.TimeoutExpired):
            _helper.wait(HANGS)


def sources_digest() -> str:
    """SHA-256 hex of the kernels' sources."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in sources)).hexdigest()


def is_done() -> bool:
    """Whether everything was compiled before, from these sources, by this numba, into this cache."""
    try:
        return _marker().read_text(encoding="utf-8") == _state()
    except OSError:
        return False


def mark_done() -> None:
    """Remember that everything is compiled, where the folder may be written."""
    with suppress(OSError):
        _marker().parent.mkdir(exist_ok=True)
        _marker().write_text(_state(), encoding="utf-8")


def _marker() -> Path:
    return Path(__file__).parent / "__pycache__" / "cambench-kernels.compiled"


def _state() -> str:
    facts = (platform.python_version(), platform.node(), version("numba"), os.environ.get("NUMBA_CACHE_DIR", ""))
    return "\n".join((sources_digest(), *facts))
