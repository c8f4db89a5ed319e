"""The steps of a reproduction, worked off by one process or by several that find each other in its folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from heapq import heapreplace
from pathlib import Path

from ...results.records.locks import FolderLock, holders
from ...results.records.record_errors import ResultsError
from ...results.records.run_folder import TABLES_NAME, read_manifest
from ..engine.again import TABLES
from .plan_steps import ReproductionPlan, Step

POLL_S = 0.5
"""Seconds after which a process that has nothing else to do looks again whether others are through."""
_LAUNCH = ("RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID")


class SharedSteps:
    """Does every step once its needs are there; one that another process is at is left to it.

    A network or a head is trained by one process while others train another one; a data set's images are shared by all
    that have nothing else to do.

    Args:
        plan: Whose steps are worked off.
        lock: Of the folder of the reproduction, one of ``world`` processes.
        world: Processes that share the steps.
        do: Does a step that is to be done, or sees that it is.
    """

    def __init__(self, plan: ReproductionPlan, lock: FolderLock, world: int, do: Callable[[Step], None]) -> None:
        self._plan, self._lock, self._shared, self._do = plan, lock, world > 1, do
        self._begun: set[Path] = set()

    def work_off(self) -> None:
        """Return when all steps are done, by whomever."""
        waiting = list(self._plan.steps)
        while waiting:
            left = [step for step in waiting if not self._through(step)]
            if len(left) == len(waiting):
                time.sleep(POLL_S)
            waiting = left

    def _through(self, step: Step) -> bool:
        """Whether a step is done after a look at it."""
        if not self._shared:
            self._do(step)
            return True
        if not all(file.is_file() for file in self._needs(step)):
            return False
        if step.kind == "records":
            return self._evaluated(step)
        with self._lock.claim(f"{step.kind} {step.dataset} {step.what}", None) as mine:
            # What another one has just made is not looked at again; what was there before is.
            if mine and (step.done or not step.target.is_file()):
                with alone():
                    self._do(step)
            return mine

    def _evaluated(self, step: Step) -> bool:
        # One that was left to others is entered again where they are gone, killed perhaps.
        if step.target in self._begun and not _is_whole(step.target) and holders(step.target):
            return False
        self._begun.add(step.target)
        self._do(step)
        return _is_whole(step.target)

    def _needs(self, step: Step) -> Iterator[Path]:
        """Files of what a step takes: networks, heads, drawn maps."""
        kinds = {"head": ("network",), "records": ("network", "head", "few_shot")}.get(step.kind, ())
        for other in self._plan.steps:
            of_its_network = step.kind == "records" or other.what == step.what
            if other.dataset == step.dataset and other.kind in kinds and of_its_network:
                yield other.target


def seconds_on(steps: Iterable[Step], devices: int) -> float:
    """Estimated seconds of steps on some devices: a network and its head are one device's, the images are everybody's.

    The longest trainings are dealt out first, each to the device that is free first.
    """
    chains, shared = dict[tuple[str, str, bool], float](), 0.0
    for step in steps:
        if step.kind == "records":
            shared += step.seconds
        else:
            key = step.dataset, step.what, step.kind == "few_shot"
            chains[key] = chains.get(key, 0.0) + step.seconds
    busy = [0.0] * devices
    for seconds in sorted(chains.values(), reverse=True):
        heapreplace(busy, busy[0] + seconds)
    return max(busy) + shared / devices


def _is_whole(run: Path) -> bool:
    """Whether a run's records and tables are there."""
    try:
        return read_manifest(run).finished and all((run / TABLES_NAME / name).is_file() for name in TABLES)
    except (ResultsError, OSError):
        return False


@contextmanager
def alone() -> Iterator[None]:
    """Compute as one process, not as one of those that share the work."""
    hidden = {name: os.environ.pop(name) for name in _LAUNCH if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def folder_of(out: Path) -> Iterator[tuple[FolderLock, int]]:
    """The folder of a reproduction, kept from other commands; the processes that share it.

    Raises:
        RunLockedError: Another command is at work there.
    """
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    out.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(out, rank, world)
    try:
        yield lock, world
    finally:
        lock.release()
