"""Launches: who starts workers, what is refused in words, lost workers, one driver on a folder."""

import json
import socket
import sys
from pathlib import Path

import pytest

from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.executors import crew, run_worker
from cambench.bench.executors import launch as launching
from cambench.bench.executors.crew import is_launch, placed
from cambench.bench.executors.launch import launch
from cambench.bench.executors.local import LocalWorkers
from cambench.bench.executors.run_worker import Ending, Order, WorkerReport, name_of, run_job, versions_here, work
from cambench.bench.executors.workers import LostWorkerError, numbers
from cambench.bench.host.device import device_of_rank, several_devices
from cambench.bench.host.errors import RunError, UsageError
from cambench.results.records.locks import driving
from cambench.results.records.record_errors import RunLockedError


@pytest.fixture
def request_of(tmp_path):
    """A request that needs no data until it is run."""

    def make(**fields):
        return RunConfig.create(**{"dataset": "folder", "root": tmp_path / "none", "out": tmp_path / "run", **fields})

    return make


@pytest.fixture(autouse=True)
def _no_torchrun(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_who_starts_workers(request_of, monkeypatch):
    assert not is_launch(request_of())
    assert not is_launch(request_of(processes=1))
    assert is_launch(request_of(processes=2))
    assert is_launch(request_of(on="slurm"))
    assert is_launch(request_of(on="ray:ray://head:10001"))
    with pytest.raises(UsageError, match="torchrun --nproc-per-node"):
        is_launch(request_of(on="torchrun"))
    with pytest.raises(UsageError, match="on"):
        request_of(on="dask")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_launch(request_of(on="torchrun"))
    with pytest.raises(UsageError, match="give the one or the other"):
        is_launch(request_of(processes=2))


@pytest.mark.parametrize(("on", "package", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")])
def test_an_engine_that_is_not_installed_names_its_extra(request_of, monkeypatch, on, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"pip install 'cambench\[{extra}\]'"):
        launch(request_of(on=on))


def test_a_cluster_that_does_not_answer(request_of, monkeypatch):
    ray = pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        # Bound, but nobody listens.
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            with pytest.raises(RunError, match=rf"no Ray cluster answers at {address} .*ray start --head"):
                launch(request_of(on=f"ray:{address}"))
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        with pytest.raises(RunError, match="no Ray cluster answers"):
            launch(request_of(on="ray"))

    def init(**options):
        assert options["address"] == "auto"
        raise ConnectionError("no GCS there\nmore")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(RunError, match=r"no Ray cluster answers at auto: no GCS there$"):
        launch(request_of(on="ray:auto"))


def test_slurm_options_and_a_machine_without_slurm(request_of, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RunError, match=r"--on slurm: .*sbatch"):
        launch(request_of(on="slurm"))
    with pytest.raises(UsageError, match="--on-option: .*partitoin"):
        launch(request_of(on="slurm:local", on_options={"partitoin": "gpu"}))
    with pytest.raises(UsageError, match="--on local have no options"):
        launch(request_of(processes=2, on_options={"partition": "gpu"}))
    assert numbers({"num_gpus": "0.5", "partition": "gpu"}) == {"num_gpus": 0.5, "partition": "gpu"}


def test_workers_of_other_versions_are_refused_with_both(request_of):
    theirs = versions_here() | {"torch": "1.0.0", "cambench": "0.0.1"}
    order = Order(job=name_of(run_job), fields={"dataset": "synthbirds", "out": "x"}, world=1, versions=theirs)
    # Of an order that this version does not understand, too.
    text = json.dumps({**order.model_dump(mode="json"), "job": None, "later": 1})
    report = WorkerReport.model_validate_json(work(text, 0))
    ours = versions_here()
    assert f"torch {ours['torch']} here, 1.0.0 there" in report.error
    assert f"cambench {ours['cambench']} here, 0.0.1 there" in report.error


def test_data_that_the_driver_alone_has_are_named_with_the_worker(request_of, tmp_path, monkeypatch):
    config = request_of()
    order = Order(
        job=name_of(run_job),
        fields=config.model_dump(mode="json", exclude_unset=True),
        world=2,
        versions=versions_here(),
    )
    report = WorkerReport.model_validate_json(work(order.model_dump_json(), 1))
    assert str(tmp_path / "none") in report.error
    assert report.host


def what_was_typed(fields):
    """A job that tells the command it is part of."""
    del fields
    return Ending(paths=(Path(" ".join(sys.argv)),))


def test_workers_name_the_command_that_was_given(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cambench", "run", "--devices", "all"])
    order = Order(job=f"/{__name__}:what_was_typed", fields={}, world=2, versions=versions_here())
    theirs = ["run_worker.py", "order.json"]
    monkeypatch.setattr(sys, "argv", theirs)
    monkeypatch.setattr(run_worker, "import_module", lambda _: sys.modules[__name__])
    report = WorkerReport.model_validate_json(work(order.model_dump_json(), 1))
    assert report.error == ""
    assert report.paths == (Path("cambench run --devices all"),)
    assert sys.argv is theirs


class Scripted:
    """Workers of which a test says how each start ends."""

    def __init__(self, ends, retries=1):
        self.ends, self.retries, self.closed = {rank: list(e) for rank, e in ends.items()}, retries, False

    def start(self, order, ranks):
        assert json.loads(order)["world"] == len(self.ends)
        return {rank: lambda rank=rank: self.end(rank) for rank in ranks}

    def end(self, rank):
        end = self.ends[rank].pop(0)
        if isinstance(end, Exception):
            raise end
        return end

    def close(self):
        self.closed = True


def run_with(monkeypatch, config, workers):
    monkeypatch.setattr(crew, "POLL_S", 0.0)
    monkeypatch.setattr(crew, "_workers", lambda *_: (workers, len(workers.ends)))
    monkeypatch.setattr(launching, "load_run", lambda out: out)
    return launch(config)


def test_a_lost_worker_is_started_again_and_others_end_the_run(request_of, monkeypatch, capsys):
    gone, closed = LostWorkerError("killed by signal 9"), WorkerReport(rank=1, closed=True, lost={"metric x": "why"})
    workers = Scripted({0: [None, gone, WorkerReport(rank=0)], 1: [None, None, None, closed]})
    done = run_with(monkeypatch, request_of(processes=2), workers)
    assert workers.closed
    assert done.lost == {"metric x": "why"}
    assert "worker 0 is started again (killed by signal 9)" in capsys.readouterr().err
    full = WorkerReport(rank=0, host="node7", error="[Errno 28] No space left on device")
    run_with(monkeypatch, request_of(processes=2), Scripted({0: [full], 1: [closed]}))
    assert "worker 0 on node7: [Errno 28] No space left on device; others did its part" in capsys.readouterr().err


def test_a_run_that_no_worker_ended_says_what_each_said(request_of, monkeypatch):
    gone = LostWorkerError("node lost")
    with pytest.raises(RunError, match=r"(?s)worker 0: node lost.*the same command continues"):
        run_with(monkeypatch, request_of(processes=2), Scripted({0: [gone, gone], 1: [WorkerReport(rank=1)]}))
    wrong = WorkerReport(rank=0, error="triple a/b/c: no", wrong_use=True)
    with pytest.raises(UsageError, match="triple a/b/c: no"):
        run_with(monkeypatch, request_of(processes=2), Scripted({0: [wrong]}))


def test_two_drivers_on_one_folder(request_of, monkeypatch):
    config = request_of(processes=2)
    with driving(config.out), pytest.raises(RunLockedError, match="starts workers there"):
        launch(config)


def test_devices_are_named_by_number_or_in_full(monkeypatch):
    import torch

    with pytest.raises(UsageError, match="--devices all: no CUDA or XPU device here"):
        several_devices("all")
    assert several_devices("cpu,cpu") == ("cpu", [0, 1])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert several_devices("all") == ("cuda", [0, 1, 2])
    assert several_devices("0, 2") == several_devices("cuda:0,cuda:2") == ("cuda", [0, 2])
    for asked, said in [("0,3", "has 3 CUDA"), ("1,1", "named twice"), ("0,cpu", "of one kind"), ("0,,1", "expected")]:
        with pytest.raises(UsageError, match=said):
            several_devices(asked)
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert device_of_rank("cuda") == "cuda:2"


def test_devices_take_the_place_of_other_options(request_of):
    assert is_launch(request_of(devices="cpu"))
    config, numbers = placed(request_of(devices="cpu,cpu"))
    assert (config.processes, numbers) == (2, [0, 1])
    for other in ({"processes": 3}, {"device": "cpu"}, {"on": "ray"}):
        with pytest.raises(UsageError, match="--devices starts a process on each device"):
            launch(request_of(devices="cpu,cpu", **other))


def test_a_worker_is_told_the_number_of_its_device(monkeypatch):
    import subprocess

    told = []

    class Started:
        def __init__(self, words, env, **_):
            told.append(env["LOCAL_RANK"])

    workers = LocalWorkers([3, 5])
    monkeypatch.setattr(subprocess, "Popen", Started)
    workers.start("{}", range(2))
    assert told == ["3", "5"]
