"""Runs the box kernels: compiles them once per process and chooses the algorithm."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

log = logging.getLogger("cambench.metrics")

_ready = threading.Event()
_lock = threading.Lock()
PATIENCE = 1.5
"""Seconds of compiling after which a first use says so."""


def run_kernels(
    levels: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    curves: npt.NDArray[np.float64],
) -> None:
    """Fill ``curves`` (3,B,256) with multi, single and single_first of levels (B,H,W)."""
    warm_up()
    _run(levels, boxes, offsets, curves)


def warm_up() -> None:
    """Load or compile the kernels; says so once if compiling takes longer than a moment."""
    if _ready.is_set():
        return
    with _lock:
        if _ready.is_set():
            return
        with _said_when_compiling():
            _drop_stale_cache()
            _run(np.zeros((1, 5, 5), np.uint8), np.zeros((1, 4), np.int64), np.array([0, 1]), np.empty((3, 1, 256)))
        _ready.set()


@contextmanager
def _said_when_compiling() -> Iterator[None]:
    """Say so where this thread compiles for longer than ``PATIENCE``; loading from a warm cache is not compiling."""
    from numba.core import event

    note = threading.Timer(
        PATIENCE, log.warning, ("compiling the box kernels; this happens once per machine, about half a minute",)
    )
    note.daemon = True
    thread = threading.get_ident()

    class Watch(event.Listener):  # type: ignore[misc]
        def on_start(self, _event: object) -> None:
            if threading.get_ident() == thread and note.ident is None:
                note.start()

        def on_end(self, _event: object) -> None:
            """Kernels call one another, so the end of one is not the end."""

    try:
        with event.install_listener("numba:compile", Watch()):
            yield
    finally:
        note.cancel()


def _drop_stale_cache() -> None:
    """Forget cached machine code of other sources: numba compares a kernel's own file only, not those it calls."""
    from .basins import basins_batch

    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"".join(f.read_bytes() for f in sources)).hexdigest()
    cache = Path(getattr(basins_batch, "stats").cache_path or "")  # noqa: B009
    stamp = cache / "cambench-kernels.sha256"
    # A cache that cannot be read or written is no reason to fail; then numba compiles in memory.
    with suppress(OSError):
        if stamp.exists() and stamp.read_text() == digest:
            return
        for source in sources:
            for index in cache.glob(f"{source.stem}.*.nbi"):
                index.unlink(missing_ok=True)
        stamp.write_text(digest)


def _run(
    levels: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    curves: npt.NDArray[np.float64],
) -> None:
    # Imported here: numba takes half a second, which importing the metrics must not.
    from .basins import basins_batch
    from .maxtree import maxtree_batch

    done = np.zeros(len(levels), np.bool_)
    basins_batch(levels, boxes, offsets, curves[0], curves[1], curves[2], done)
    if not done.all():
        maxtree_batch(levels, boxes, offsets, curves[0], curves[1], curves[2], done)
