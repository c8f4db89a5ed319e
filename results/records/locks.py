"""Exclusive use of a run folder, shared by the ranks of one launch."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from .record_errors import ResultsError, RunLockedError

LOCK_NAME = ".lock"


class FolderLock:
    """Lock of ``out`` by ``flock``: freed by the kernel when the process dies, however it dies.

    One process takes ``.lock`` exclusively. Of ``world_size > 1`` ranks each takes ``.lock`` shared and its own
    ``.lock.rank<N>`` exclusively, so that ranks share the folder and a second launch does not.

    Raises:
        RunLockedError: Another process holds it; the error has its pid.
    """

    def __init__(self, out: Path, rank: int = 0, world_size: int = 1) -> None:
        self._out = out
        self._descriptors: list[int] = []
        alone = world_size == 1
        try:
            self._take(out / LOCK_NAME, exclusive=alone, write_pid=alone)
            if not alone:
                self._take(out / f"{LOCK_NAME}.rank{rank}", exclusive=True, write_pid=True)
        except BaseException:
            self.release()
            raise
        _held.add(self)

    def release(self) -> None:
        """Free the folder; a second call does nothing."""
        for descriptor in self._descriptors:
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Close the descriptors without unlocking: what a forked child must do with its parent's lock."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _take(self, path: Path, *, exclusive: bool, write_pid: bool) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._descriptors.append(descriptor)
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunLockedError(self._out, holders(self._out)) from None
        except OSError as error:
            raise ResultsError(f"{path}: this file system cannot lock files ({error.strerror})") from error
        if write_pid:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())


def holders(out: Path) -> list[int]:
    """Pids that hold a lock file of ``out`` exclusively."""
    pids = []
    for path in sorted(out.glob(f"{LOCK_NAME}*")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read(32).strip()
                pids += [int(text)] if text.isdigit() else []
    return pids


_held: weakref.WeakSet[FolderLock] = weakref.WeakSet()


def _drop_in_child() -> None:
    # A forked loader worker would otherwise keep the folder locked after its parent was killed.
    for lock in list(_held):
        lock.forget()


os.register_at_fork(after_in_child=_drop_in_child)
