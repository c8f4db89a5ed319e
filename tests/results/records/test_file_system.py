"""File systems whose renames or locks are not what whole files and claims rest on are named before anything is done."""

import errno
import os
from pathlib import Path

import pytest

from cambench.results.records import file_system
from cambench.results.records.file_system import check_file_system, weakness
from cambench.results.records.locks import FolderLock, driving
from cambench.results.records.record_errors import ResultsError


def test_a_usual_folder_passes_and_nothing_is_left(tmp_path):
    check_file_system(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_two_get_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(file_system.FileLock, "_acquire", lambda self: setattr(self._context, "lock_file_fd", 0))
    monkeypatch.setattr(file_system.FileLock, "_release", lambda self: setattr(self._context, "lock_file_fd", None))
    with pytest.raises(ResultsError, match=r"given to two at once.*Choose another --out folder"):
        check_file_system(tmp_path)
    check_file_system(tmp_path, lock=False)
    assert list(tmp_path.iterdir()) == []


def test_a_rename_that_is_refused_or_does_not_replace(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ResultsError, match="cannot be renamed over another one"):
        FolderLock(tmp_path)
    monkeypatch.setattr(Path, "replace", lambda self, target: self.unlink())
    with pytest.raises(ResultsError, match="not found in its place"), driving(tmp_path / "other"):
        pass


MOUNTS = r"""
21 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 21 0:50 / /scratch rw,relatime - nfs4 server:/scratch rw,vers=4.2,local_lock=none
41 21 0:51 / /home rw - nfs server:/home rw,vers=3,nolock,local_lock=all
42 21 0:52 / /my\040bucket rw - fuse.s3fs s3fs rw
43 21 0:53 / /lustre rw - lustre mgs:/fs rw,localflock
not a line
"""


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("/scratch/runs/a", ""),
        ("/elsewhere", ""),
        ("/home/me/run", "local_lock=all, nolock (nfs)"),
        ("/my bucket/run", "/my bucket is an object store (fuse.s3fs)"),
        ("/lustre/run", "localflock (lustre)"),
    ],
)
def test_locks_that_do_not_reach_other_machines_are_read_from_the_mounts(tmp_path, monkeypatch, folder, why):
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(file_system, "MOUNTS", tmp_path / "mounts")
    assert why in weakness(Path(folder))
    assert bool(why) == bool(weakness(Path(folder)))


def test_ranks_of_two_machines_need_locks_that_both_see(tmp_path, monkeypatch):
    (tmp_path / "mounts").write_text(f"41 21 0:51 / {tmp_path} rw - nfs server:/home rw,nolock\n")
    first = FolderLock(tmp_path, 0, 2)
    monkeypatch.setattr("cambench.results.records.locks.socket.gethostname", lambda: "elsewhere")
    FolderLock(tmp_path, 1, 2).release()
    monkeypatch.setattr(file_system, "MOUNTS", tmp_path / "mounts")
    with pytest.raises(ResultsError, match=r"shared with .*nolock \(nfs\): its locks are seen on one machine alone"):
        FolderLock(tmp_path, 1, 2)
    first.release()
