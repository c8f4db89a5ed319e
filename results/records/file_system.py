"""What a run folder's file system must be able to do, tried and read before anything is computed."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ...atomic import temporary_of
from .record_errors import ResultsError

ANOTHER = """
import sys
from filelock import FileLock, Timeout
try:
    FileLock(sys.argv[1], timeout=0).acquire()
except Timeout:
    sys.exit(1)
"""
"""Another process's try at a lock."""
MOUNTS = Path("/proc/self/mountinfo")
_LOCAL_LOCKS = {
    "nfs": {"nolock", "local_lock=all", "local_lock=flock"},
    "nfs4": {"nolock", "local_lock=all", "local_lock=flock"},
    "lustre": {"localflock"},
}
"""Kind of file system -> mount options under which a lock is seen on its own machine alone."""
_NOT_POSIX = re.compile(r"fuse\.(s3fs|goofys|geesefs|gcsfuse|blobfuse2?|rclone|mount-s3|mountpoint-s3|s3ql)")
"""Object stores in the dress of a folder: a rename there is a copy, and locks are the machine's own."""


def check_file_system(folder: Path, *, lock: bool = True) -> None:
    """Try in a folder what whole files and claims rest on: a rename that replaces, a lock that a second one is refused.

    Args:
        folder: Where files are to be written.
        lock: Try locks, too.

    Raises:
        ResultsError: One of them does not hold there.
        OSError: The folder cannot be written.
    """
    probe = temporary_of(folder / ".lock.probe")
    other = temporary_of(folder / ".lock.probe")
    try:
        for path, text in ((probe, "old"), (other, "new")):
            path.write_text(text, encoding="utf-8")
        _try_rename(other, probe, folder)
        if lock:
            _try_lock(probe, folder)
    finally:
        for path in (probe, other):
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _try_rename(source: Path, target: Path, folder: Path) -> None:
    try:
        source.replace(target)
        whole = target.read_text(encoding="utf-8") == "new" and not source.exists()
    except (PermissionError, FileNotFoundError):
        raise
    except OSError as error:
        raise ResultsError(_said(folder, f"a file cannot be renamed over another one ({error.strerror})")) from error
    if not whole:
        raise ResultsError(_said(folder, "a file that was renamed over another one is not found in its place"))


def _try_lock(path: Path, folder: Path) -> None:
    held = FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        held.acquire()
    except (OSError, NotImplementedError):
        return  # files cannot be locked at all: whoever takes the folder's own lock says so
    try:
        # Some systems let one process have a lock twice, and no other.
        if _is_given(path) and subprocess.run([sys.executable, "-c", ANOTHER, str(path)], check=False).returncode == 0:
            raise ResultsError(_said(folder, "a file's lock is given to two at once"))
    finally:
        held.release()


def _is_given(path: Path) -> bool:
    try:
        FileLock(path, timeout=0, thread_local=False, fallback_to_soft=False).acquire().lock.release()
    except Timeout:
        return False
    return True


def _said(folder: Path, what: str) -> str:
    return (
        f"{folder}: on this file system {what}, so that finished work could be lost or done by two. Choose another "
        "--out folder (local disk, NFS, Lustre, BeeGFS) and copy it there when the run is finished"
    )


def weakness(folder: Path) -> str:
    """Why processes of several machines cannot share a folder, in words; empty where nothing speaks against it.

    Read from the system's table of mounts; where there is none (other systems than Linux) nothing is known.
    """
    kind, options, place = _mount_of(folder)
    if _NOT_POSIX.fullmatch(kind):
        return f"{place} is an object store ({kind}): renames there are copies, locks are seen on one machine alone"
    if local := _LOCAL_LOCKS.get(kind, set()) & options:
        return f"{place} is mounted with {', '.join(sorted(local))} ({kind}): its locks are seen on one machine alone"
    return ""


def _mount_of(folder: Path) -> tuple[str, set[str], Path]:
    """Kind, options and place of the mount that holds a folder."""
    found = "", set[str](), Path("/")
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return found
    here = folder.resolve()
    for line in lines:
        # man 5 proc_pid_mountinfo: the place is the fifth field, the kind and the super options follow the dash.
        front, dash, back = line.partition(" - ")
        fields, behind = front.split(), back.split()
        if not dash or len(fields) < 6 or not behind:
            continue
        place = Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]))
        if here.is_relative_to(place) and len(place.parts) >= len(found[2].parts):
            found = behind[0], {*fields[5].split(","), *(behind[-1].split(","))}, place
    return found
