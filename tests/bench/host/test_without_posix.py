"""A real run where neither fcntl nor resource nor the POSIX functions of os exist."""

import importlib
import sys

import pytest

from cambench.bench.host.device import peak_memory_mib
from cambench.bench.notebook.runs import run
from cambench.datasets.disk.archives import PlainReader
from cambench.datasets.tables.stamps import others_may_write
from cambench.results.records.locks import FolderLock
from cambench.results.records.record_errors import RunLockedError
from cambench.results.tables.leaderboard import write_leaderboard


def test_a_run_its_tables_and_its_costs(without_posix, settings, tmp_path):
    result = run(**{**settings, "triples": ("slim_resnet/{cam,center}/softmax",)})
    assert result.run.manifest.finished
    assert result.run.manifest.timings.backbones["slim_resnet"].peak_memory_mib > 10
    assert write_leaderboard([result.out], tmp_path / "tables")


def test_locks_archives_and_shared_folders(without_posix, tmp_path):
    held = FolderLock(tmp_path)
    with pytest.raises(RunLockedError):
        FolderLock(tmp_path)
    held.release()
    FolderLock(tmp_path).release()
    (tmp_path / "a.tar").write_bytes(bytes(range(256)))
    reader = PlainReader(str(tmp_path / "a.tar"))
    assert (reader.pread(3, 10), reader.pread(9, 250)) == (bytes([10, 11, 12]), bytes(range(250, 256)))
    assert not others_may_write(tmp_path)


def test_the_simulation_hides_what_it_says(without_posix):
    source = sys.modules["cambench.datasets.disk.archives"]
    assert not hasattr(source.os, "pread")
    with pytest.raises(ModuleNotFoundError, match="as on Windows"):
        exec("import resource", {"__name__": "cambench.anything"})
    assert importlib.import_module("resource"), "libraries keep theirs"


def test_peak_memory_without_resource_is_that_of_the_process(without_posix):
    import torch

    assert 10 < peak_memory_mib(torch.device("cpu")) < 1 << 20
