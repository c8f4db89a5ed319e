"""A table of the paper worked off by several processes: each step by one, the images by all, the report by the last."""

import json
import os
import signal
from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from cambench.bench.executors import crew
from cambench.bench.executors.run_worker import WorkerReport, work
from cambench.bench.executors.workers import LostWorkerError
from cambench.bench.host.errors import UsageError
from cambench.bench.paper.plan_steps import Step
from cambench.bench.paper.reproduce import reproduce
from cambench.bench.paper.shared_steps import seconds_on
from cambench.bench.paper.table_plan import make_plan
from cambench.results.records.locks import FolderLock
from cambench.results.records.record_errors import RunLockedError


class ForkedWorkers:
    """Workers that are forks of this process; the first that is seen with a claimed step is killed."""

    retries = 1

    def __init__(self, folder, out):
        self.folder, self.claims, self.running, self.kills = folder, out / ".lock.claims", {}, 0

    def start(self, order, ranks):
        return {rank: partial(self.poll, rank, self.fork(order, rank)) for rank in ranks}

    def fork(self, order, rank):
        process = os.fork()
        if not process:
            try:
                signal.alarm(300)
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
                raise LostWorkerError("killed")
            return WorkerReport.model_validate_json((self.folder / f"{rank}.json").read_text())
        if not self.kills and self.claims.is_dir() and len(list(self.claims.iterdir())) == 2:
            self.kills += 1
            os.kill(process, signal.SIGKILL)
        return None

    def close(self):
        for process in self.running.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)


def kept(out):
    """Bytes of the parts of records, of score tables and reports; the tensors of networks and heads."""
    files = [*out.rglob("part-*"), *out.rglob("scores.*"), *out.glob("table1*")]
    bytes_of = {str(file.relative_to(out)): file.read_bytes() for file in files}
    trained = {str(file.relative_to(out)): load_file(file) for file in out.rglob("*.safetensors")}
    return bytes_of, {f"{file} {name}": v.tolist() for file, found in trained.items() for name, v in found.items()}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.own_process
def test_a_table_of_two_workers_of_which_one_is_killed_is_that_of_one_process(request_of, tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = request_of(out=tmp_path / "alone", datasets=("cub",))
    expected = [path.name for path in reproduce(make_plan(alone))]
    shared = request_of(out=tmp_path / "shared", datasets=("cub",), processes=2)
    workers = ForkedWorkers(tmp_path, shared.out)
    monkeypatch.setattr(crew, "POLL_S", 0.002)
    monkeypatch.setattr(crew, "_workers", lambda *_: (workers, 2))
    # No head that was trained before is at hand.
    monkeypatch.setattr("cambench.bench.training.head_cache.cache_root", lambda: tmp_path / "cache")
    paths = reproduce(make_plan(shared))
    torch.set_num_threads(threads)
    assert workers.kills == 1
    assert [path.name for path in paths] == expected
    assert kept(shared.out) == kept(alone.out)
    times = json.loads((shared.out / "times.json").read_text())
    assert {step["kind"] for step in times["steps"]} == {"network", "head", "records"}
    assert not list((shared.out / ".lock.claims").iterdir())


def test_a_folder_that_another_command_is_at_is_refused(request_of):
    request = request_of(datasets=("cub",))
    request.out.mkdir()
    lock = FolderLock(request.out)
    with pytest.raises(RunLockedError):
        reproduce(make_plan(request))
    lock.release()


def test_torchrun_without_torchrun_is_refused(request_of):
    with pytest.raises(UsageError, match="torchrun --nproc-per-node"):
        reproduce(make_plan(request_of(datasets=("cub",), on="torchrun")))


def step(kind, what, seconds):
    return Step(kind, "cub", what, None, False, 1, 1.0, seconds)


def test_hours_on_several_devices():
    steps = [step("network", "a", 5.0), step("head", "a", 1.0), step("network", "b", 3.0), step("network", "c", 3.0)]
    steps += [step("records", "20 triples", 8.0)]
    assert seconds_on(steps, 1) == 20.0
    assert seconds_on(steps, 2) == 6.0 + 4.0
    assert seconds_on(steps, 4) == 6.0 + 2.0
