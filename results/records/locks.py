"""Exclusive use of a run folder, shared by the ranks of one launch."""

from __future__ import annotations

import errno
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ...triple import file_name
from .file_system import check_file_system, weakness
from .record_errors import ResultsError, RunLockedError

LOCK_NAME = ".lock"
CLAIMS = f"{LOCK_NAME}.claims"
"""Folder of what processes of a launch are at work on, a locked file each."""
_RANK = re.compile(re.escape(LOCK_NAME) + r"\.rank\d+")
_HOLDER = ".holder"
"""What a lock's file name ends with where the process that holds it says who it is: a locked file cannot be read on
every system."""
_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
PROBE_S = 0.25
"""Seconds that a look at a lock waits for another process's look at it, which takes a few milliseconds."""
ORPHANS_S = 10.0
"""Seconds in which the workers of a killed launch see that it is gone."""
TURN_S = 120.0
"""Seconds that a process waits for its turn to change ``run.json`` or to write the tables."""


class FolderLock:
    """Lock of ``out``: freed by the operating system when the process dies, however it dies.

    One process holds ``.lock``; of ``world_size > 1`` ranks each holds its own ``.lock.rank<N>``. Each takes its own
    first and then looks whether one of the other kind is held, so that ranks share the folder, a second launch is
    refused, and of two that start in the same moment both are never let in.

    Args:
        out: The run folder.
        rank: Number of this process among ``world_size``.
        world_size: Processes of the launch.
        enabled: False where the file system has no locks: the user sees to it that no other launch writes there.

    Raises:
        RunLockedError: Another process holds it; the error has its pid.
        ResultsError: The file system cannot lock files or rename them as it must, or its locks do not reach the
            machines that share the folder.
    """

    def __init__(self, out: Path, rank: int = 0, world_size: int = 1, *, enabled: bool = True) -> None:
        self._out, self.enabled, self._rank, self._world = out, enabled, rank, world_size
        self._lock: FileLock | None = None
        self._path = out / (LOCK_NAME if world_size == 1 else f"{LOCK_NAME}.rank{rank}")
        if not enabled:
            check_file_system(out, lock=False)
            return
        lock = _take(self._path, PROBE_S)
        if lock is None:
            raise RunLockedError(out, holders(out))
        self._lock = lock
        try:
            self._holder.write_text(f"{os.getpid()} {socket.gethostname()}\n", encoding="utf-8")
            others = [out / LOCK_NAME] if world_size > 1 else _rank_locks(out)
            if any(_is_held(path) for path in others):
                raise RunLockedError(out, holders(out))
            check_file_system(out)
            if world_size > 1:
                _check_machines(out)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Free the folder; a second call does nothing."""
        if self._lock is not None:
            self._holder.unlink(missing_ok=True)
            self._lock.release()
            self._lock = None

    def others_at_work(self) -> bool | None:
        """Whether other ranks hold the folder now; None where nothing is locked, so that nobody can know."""
        if not self.enabled:
            return None
        held = [_is_held(path) for path in _rank_locks(self._out) if path != self._path]  # looks at every one
        return any(held)

    @contextmanager
    def claim(self, what: str, share: int | None) -> Iterator[bool]:
        """Whether ``what`` is this process's to do while the block lasts; False while another one has it.

        A process alone has everything. Without locks whoever's number is ``share`` modulo the number of processes has
        it, and all of them what has no share. What is claimed must be harmless to do twice, by two at once, too.
        """
        if self._world == 1 or not self.enabled:
            yield share is None or share % self._world == self._rank
            return
        path = self._out / CLAIMS / file_name(what)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _take(path, 0)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                with suppress(OSError):  # Windows keeps an open file
                    path.unlink(missing_ok=True)
                lock.release()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One process of a launch at a time, for what all of them write: ``run.json`` and the tables.

        Raises:
            ResultsError: Another process has had its turn for longer than ``TURN_S`` seconds.
        """
        if not self.enabled:
            yield
            return
        path = self._out / f"{LOCK_NAME}.turn"
        lock = _take(path, TURN_S)
        if lock is None:
            raise ResultsError(f"{path}: another process of this run has held it for {TURN_S:.0f} s; is it stopped?")
        try:
            yield
        finally:
            lock.release()

    @property
    def _holder(self) -> Path:
        return _holder_of(self._path)


@contextmanager
def driving(out: Path) -> Iterator[None]:
    """Be the one process that starts workers on a folder while the block lasts; the folder is made.

    Raises:
        RunLockedError: Another one does, or workers of another launch are still there after ``ORPHANS_S`` seconds.
        ResultsError: The file system cannot lock files.
    """
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{LOCK_NAME}.driver"
    lock = _take(path, PROBE_S)
    if lock is None:
        raise RunLockedError(out, [f"that starts workers there (see {path})"])
    try:
        until = time.monotonic() + ORPHANS_S
        while any(map(_is_held, (out / LOCK_NAME, *_rank_locks(out)))):
            if time.monotonic() > until:
                raise RunLockedError(out, holders(out))
            time.sleep(PROBE_S)
        check_file_system(out)
        yield
    finally:
        lock.release()


def holders(out: Path) -> list[str]:
    """The processes that hold a lock of ``out``, as they call themselves: ``PID``, or ``PID on HOST`` of another.

    What killed ones said of themselves is removed.
    """
    found = []
    for path in (out / LOCK_NAME, *_rank_locks(out)):
        try:
            pid, host = _holder_of(path).read_text(encoding="utf-8").split()
        except (OSError, ValueError):
            continue
        if _is_held(path):
            found.append(pid if host == socket.gethostname() else f"{pid} on {host}")
    return found


def _check_machines(out: Path) -> None:
    """ResultsError where ranks of other machines hold a folder whose locks are seen on one machine alone."""
    hosts = set[str]()
    for path in _rank_locks(out):
        with suppress(OSError, ValueError):
            hosts.add(_holder_of(path).read_text(encoding="utf-8").split()[1])
    others = sorted(hosts - {socket.gethostname()})
    if others and (why := weakness(out)):
        raise ResultsError(
            f"{out} is shared with {', '.join(others)}, but {why}. Choose an --out folder with locks for all machines, "
            f"or work on one of them (if {others[0]} is gone, delete {LOCK_NAME}.rank*{_HOLDER} there)"
        )


def _rank_locks(out: Path) -> list[Path]:
    return sorted(path for path in out.glob(f"{LOCK_NAME}.rank*") if _RANK.fullmatch(path.name))


def _holder_of(path: Path) -> Path:
    return path.with_name(path.name + _HOLDER)


def _is_held(path: Path) -> bool:
    """Whether a process holds a lock; of one that is free, what a killed holder said of itself is removed."""
    if not path.exists():
        return False
    lock = _take(path, PROBE_S)
    if lock is None:
        return True
    # The lock's own file stays: one that is taken while it is removed would let two in.
    with suppress(OSError):
        _holder_of(path).unlink(missing_ok=True)
    lock.release()
    return False


def _take(path: Path, wait_s: float) -> FileLock | None:
    """The lock of a file; None where another has it for longer than ``wait_s``."""
    # Two locks of one process are two, also in one thread: a notebook may hold a folder that it is asked to open.
    lock = FileLock(path, timeout=wait_s, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        return None
    except (OSError, NotImplementedError) as error:
        said = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) in _NOT_WRITABLE:
            raise ResultsError(
                f"{path.parent} cannot be written ({said}). Choose another --out folder; a finished run is read there, "
                "by the command that made it, 'cambench leaderboard' and 'cambench report', with --dest elsewhere"
            ) from None
        raise ResultsError(
            f"{path}: this file system cannot lock files ({said}). Choose another --out folder, or give --no-lock and "
            "see to it that no other run writes there"
        ) from error
    return lock
