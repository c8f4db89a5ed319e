"""Runs the box kernels: compiles them once per process and chooses the algorithm."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from . import ahead

log = logging.getLogger("cambench.metrics")

_ready = threading.Event()
_lock = threading.Lock()
ONCE = "the box kernels are compiled once per machine, which takes about half a minute"
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
    run_boxes(levels, boxes, offsets, curves)


def warm_up() -> None:
    """Load or compile the kernels; says so once if compiling takes longer than a moment."""
    if _ready.is_set():
        return
    with _lock:
        if _ready.is_set():
            return
        if ahead.busy():
            log.warning("%s; they are being compiled beside the other work", ONCE)
            ahead.wait()
        with _said_when_compiling():
            drop_stale_cache()
            run_boxes(
                np.zeros((1, 5, 5), np.uint8), np.zeros((1, 4), np.int64), np.array([0, 1]), np.empty((3, 1, 256))
            )
        _ready.set()


@contextmanager
def _said_when_compiling() -> Iterator[None]:
    """Say so where this thread compiles for longer than ``PATIENCE``; loading from a warm cache is not compiling."""
    from numba.core import event

    note = threading.Timer(PATIENCE, log.warning, (f"compiling: {ONCE}",))
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


def drop_stale_cache() -> None:
    """Forget cached machine code of other sources: numba compares a kernel's own file only, not those it calls."""
    from .basins import basins_batch

    digest = ahead.sources_digest()
    cache = Path(getattr(basins_batch, "stats").cache_path or "")  # noqa: B009
    stamp = cache / "cambench-kernels.sha256"
    # A cache that cannot be read or written is no reason to fail; then numba compiles in memory.
    with suppress(OSError):
        if stamp.exists() and stamp.read_text() == digest:
            return
        for source in Path(__file__).parent.glob("*.py"):
            for index in cache.glob(f"{source.stem}.*.nbi"):
                index.unlink(missing_ok=True)
        stamp.write_text(digest)


def run_boxes(
    levels: npt.NDArray[np.uint8],
    boxes: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    curves: npt.NDArray[np.float64],
    *,
    everything: bool = False,
) -> None:
    """``run_kernels`` without ``warm_up``; ``everything``: the second algorithm too where the first is enough."""
    # Imported here: numba takes half a second, which importing the metrics must not.
    from .basins import basins_batch
    from .maxtree import maxtree_batch

    done = np.zeros(len(levels), np.bool_)
    basins_batch(levels, boxes, offsets, curves[0], curves[1], curves[2], done)
    if everything or not done.all():
        maxtree_batch(levels, boxes, offsets, curves[0], curves[1], curves[2], done)
