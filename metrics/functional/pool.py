"""Box kernels in worker threads, beside the device's next work."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from .host_copies import HostCopies
from .kernels.engine import warm_up
from .kernels.levels import LevelIoUs, check_levels, join_boxes
from .no_contour import run_rule

NICENESS = 10
"""Steps by which a box thread's scheduling priority is lower than its process's."""
_Job = tuple[HostCopies[str], npt.NDArray[np.int64], npt.NDArray[np.int64]]


class BoxPool:
    """Threads that run ``level_ious`` without the GIL; a context manager.

    A device batch is copied to pinned host memory in one asynchronous transfer when it is submitted; the worker waits
    for that copy alone, so neither the device nor the caller stalls. On Linux the workers give way to all other work of
    the process: a forward's threads wait for one another, so one that is held up holds up all.

    Args:
        threads: Number of worker threads, at least 1.
        no_contour: As of ``level_ious``.

    Raises:
        ValueError: No thread.

    Examples:
        >>> import numpy as np
        >>> import torch
        >>> levels = torch.zeros(1, 8, 8, dtype=torch.uint8)
        >>> levels[0, 2:5, 1:6] = 200
        >>> with BoxPool(threads=1) as pool:
        ...     curves = pool.submit(levels, [np.array([[1, 2, 6, 5]])]).result()
        >>> float(curves.single[0, 0])
        1.0
    """

    def __init__(self, threads: int, no_contour: str = "zero") -> None:
        if threads < 1:
            raise ValueError(f"BoxPool: expected at least one thread, got {threads}")
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="boxes", initializer=_step_back)
        self._no_contour = no_contour
        self._warm = self._executor.submit(warm_up)

    @property
    def ready(self) -> bool:
        """Nothing waits for a compiler any more."""
        return self._warm.done()

    def submit(self, levels: Tensor, gt_boxes: Sequence[npt.NDArray[np.integer[Any]]]) -> Future[LevelIoUs]:
        """``level_ious`` of a batch, later; input errors are raised here, not in the worker."""
        return self._executor.submit(_work, *_prepare(levels, gt_boxes), self._no_contour)

    def submit_timed(
        self, levels: Tensor, gt_boxes: Sequence[npt.NDArray[np.integer[Any]]]
    ) -> Future[tuple[LevelIoUs, float]]:
        """Like ``submit``; the result comes with the CPU milliseconds that its worker spent."""
        return self._executor.submit(_timed, *_prepare(levels, gt_boxes), self._no_contour)

    def close(self) -> None:
        """Stop the threads; work that has not begun is dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> BoxPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _step_back() -> None:
    if sys.platform == "linux":
        # A thread has a priority of its own there. Where it may not be changed, only the order of work differs.
        with contextlib.suppress(OSError, AttributeError):
            own = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, own, min(19, os.getpriority(os.PRIO_PROCESS, own) + NICENESS))


def _prepare(levels: Tensor, gt_boxes: Sequence[npt.NDArray[np.integer[Any]]]) -> _Job:
    check_levels(levels)
    boxes, offsets = join_boxes(gt_boxes, len(levels))
    return HostCopies({"levels": levels}), boxes, offsets


def _work(
    levels: HostCopies[str], boxes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], no_contour: str
) -> LevelIoUs:
    return run_rule(levels.wait()["levels"], boxes, offsets, no_contour)


def _timed(
    levels: HostCopies[str], boxes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], no_contour: str
) -> tuple[LevelIoUs, float]:
    start = time.thread_time()
    ious = _work(levels, boxes, offsets, no_contour)
    return ious, 1e3 * (time.thread_time() - start)
