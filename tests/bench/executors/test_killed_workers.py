"""Workers killed while they train a head, compute a shard and write tables: the short form of ``test_chaos``.

A worker is a fork of this process, which has everything imported and compiled.
"""

import errno
import json
import os
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from cambench.bench.executors import crew
from cambench.bench.executors.run_worker import WorkerReport, work
from cambench.bench.executors.workers import LostWorkerError
from cambench.bench.notebook.runs import run

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL"),
    pytest.mark.own_process,
]


def no_space(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class ForkedWorkers:
    """Workers of which one is killed at each of some moments, in turn."""

    retries = 3

    def __init__(self, folder: Path, moments, moments_of, out: Path, full=()) -> None:
        self.full = full
        self.folder, self.out, self.left, self.moments_of = folder, out, list(moments), moments_of
        self.running = {}

    def start(self, order, ranks):
        return {rank: partial(self.poll, rank, self.fork(order, rank)) for rank in ranks}

    def fork(self, order, rank):
        process = os.fork()
        if not process:
            try:
                signal.alarm(300)
                if rank in self.full:
                    os.fsync = no_space
                (self.folder / f"{rank}.json").write_text(work(order, rank))
            finally:
                os._exit(0)
        self.running[rank] = process
        return process

    def poll(self, rank, process):
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            del self.running[rank]
            if status:
                raise LostWorkerError(f"killed by signal {status}")
            return WorkerReport.model_validate_json((self.folder / f"{rank}.json").read_text())
        if self.left and self.left[0] in self.moments_of(process, self.out):
            os.kill(process, signal.SIGKILL)
            self.left.pop(0)
        return None

    def close(self):
        for process in self.running.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_workers_killed_at_every_kind_of_task_change_no_byte(
    settings, tmp_path, monkeypatch, one_thread, moments_of, tables, capfd
):
    fields = {**settings, "shard_size": 1, "triples": ("slim_resnet/{cam,center}/{softmax,sigmoid}",)}
    run(**{**fields, "out": tmp_path / "alone"}, retrain=True)
    out = tmp_path / "shared"
    workers = ForkedWorkers(tmp_path, ["head", "shard", "tables"], moments_of, out)
    monkeypatch.setattr(crew, "POLL_S", 0.002)
    monkeypatch.setattr(crew, "_workers", lambda *_: (workers, 3))
    result = run(**{**fields, "out": out}, processes=3, retrain=True)
    assert result.run.manifest.finished
    assert not workers.left, "not every moment came"
    assert capfd.readouterr().err.count("is started again") == 3
    assert tables(out) == tables(tmp_path / "alone")
    assert json.loads((out / "run.json").read_text())["finished"]


def test_a_worker_whose_disk_is_full_is_named_and_others_do_its_part(
    settings, tmp_path, monkeypatch, one_thread, moments_of, tables, capfd
):
    fields = {**settings, "triples": ("slim_resnet/{cam,center}/softmax",), "pretrained": False}
    run(**{**fields, "out": tmp_path / "alone"}, retrain=True)
    out = tmp_path / "shared"
    workers = ForkedWorkers(tmp_path, [], moments_of, out, full=[0])
    monkeypatch.setattr(crew, "_workers", lambda *_: (workers, 2))
    result = run(**{**fields, "out": out}, processes=2, retrain=True)
    assert result.run.manifest.finished
    said = capfd.readouterr().err
    assert "worker 0 on " in said
    assert "No space left on device" in said
    assert "others did its part" in said
    assert tables(out) == tables(tmp_path / "alone")
