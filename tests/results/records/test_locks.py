"""File systems that cannot lock or be written, and names of processes of other machines."""

import errno
import os

import pytest

from cambench.results.records.locks import FolderLock, holders
from cambench.results.records.record_errors import ResultsError, RunLockedError
from cambench.results.records.store import RunStore


def refusing(monkeypatch, number):
    def acquire(self, *args, **kwargs):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("cambench.results.records.locks.FileLock.acquire", acquire)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_with_the_way_on(tmp_path, toy, monkeypatch, number):
    refusing(monkeypatch, number)
    with pytest.raises(ResultsError, match=r"cannot lock files.*--no-lock"):
        RunStore.open(tmp_path / "run", toy.manifest())
    with RunStore.open(tmp_path / "run", toy.manifest(), lock=False) as store:
        toy.write(store, "net", 0)
        assert not store.finish().finished


def test_without_locks_a_rank_that_misses_shards_leaves_the_end_to_others(tmp_path, toy, monkeypatch):
    refusing(monkeypatch, errno.ENOSYS)
    manifest = toy.manifest()
    with RunStore.open(tmp_path / "run", manifest, rank=0, world_size=2, lock=False) as zero:
        for shard in (0, 2):
            toy.write(zero, "net", shard)
        zero.finish()
        assert zero.others_at_work
    with RunStore.open(tmp_path / "run", manifest, rank=1, world_size=2, lock=False) as one:
        toy.write(one, "net", 1)
        assert one.finish().finished


def test_a_folder_that_cannot_be_written_says_so_instead_of_blaming_locks(tmp_path, toy, monkeypatch):
    refusing(monkeypatch, errno.EROFS)
    with pytest.raises(ResultsError, match=r"run cannot be written \(Read-only file system\).*--dest"):
        RunStore.open(tmp_path / "run", toy.manifest())


def test_a_holder_of_another_machine_is_named_with_it(tmp_path, monkeypatch):
    held = FolderLock(tmp_path)
    assert holders(tmp_path) == [str(os.getpid())]
    monkeypatch.setattr("cambench.results.records.locks.socket.gethostname", lambda: "elsewhere")
    with pytest.raises(RunLockedError, match=rf"process {os.getpid()} on "):
        FolderLock(tmp_path)
    held.release()
    assert holders(tmp_path) == []


def test_what_killed_ranks_said_of_themselves_is_removed_by_the_next_start(tmp_path):
    (tmp_path / ".lock.rank3").touch()
    (tmp_path / ".lock.rank3.holder").write_text("999999999 somewhere\n")
    FolderLock(tmp_path).release()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", ".lock.rank3"]
    (tmp_path / ".lock.holder").write_text("999999999 somewhere\n")
    assert holders(tmp_path) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", ".lock.rank3"]
