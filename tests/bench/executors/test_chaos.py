"""Workers and drivers killed at chosen and random moments, on every engine: the tables of one process, to the byte."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from cambench.bench.notebook.runs import run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")]
ENGINES = {
    "local": ("local", "cambench"),
    "ray": ("ray", "ray"),
    "slurm": ("slurm:local", "submitit"),
    "torchrun": ("torchrun", "torch"),
}
WORKERS = ("executors.run_worker", "submitit", "ray::work", "cambench run")
MOMENTS = ("head", "shard", "tables", "any", "any")
A_ROUND = 5
"""Kills on one run folder."""
PATIENCE_S = 900.0


class Rounds:
    """Runs of one request, each in a folder and with a cache of heads of its own."""

    def __init__(self, fields: Mapping[str, Any], folder: Path, engine: str, moments_of: Any) -> None:
        self.fields, self.folder, self.engine, self.moments_of = fields, folder, engine, moments_of
        self.kills: dict[str, int] = {}
        self.began = 0

    def fresh(self) -> None:
        self.began += 1
        place = self.folder / f"round{self.began}"
        place.mkdir()
        self.out, self.file = place / "out", place / "run.yaml"
        self.env = {**os.environ, "CAMBENCH_CACHE": str(place / "cache"), "RAY_DEDUP_LOGS": "0"}
        fields = {**self.fields, "root": str(self.fields["root"]), "out": str(self.out)}
        self.file.write_text(json.dumps(fields), encoding="utf-8")

    def driver(self, world: int, **options: object) -> subprocess.Popen[str]:
        """The command of a user, with ``world`` processes."""
        program = ["-m", "cambench", "run", "--config", str(self.file)]
        if self.engine == "torchrun":
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
            program = [*launcher, *program, "--on", "torchrun"]
        else:
            options = {**({"num_cpus": 0.5} if self.engine == "ray" else {}), **options}
            given = [part for key, value in options.items() for part in ("--on-option", f"{key}={value}")]
            program += ["--on", ENGINES[self.engine][0], "--processes", str(world), *given]
        return subprocess.Popen(
            [sys.executable, *program], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def victims(self, driver: psutil.Process, moment: str) -> list[psutil.Process]:
        """Workers below the driver that are at this moment."""
        found = []
        for process in driver.children(recursive=True):
            with suppress(psutil.Error):
                if any(word in " ".join(process.cmdline()) for word in WORKERS):
                    found += [process] if moment in self.moments_of(process.pid, self.out) else []
        return found

    def kill_at(self, driver: subprocess.Popen[str], moment: str, drawn: random.Random, *, whole: bool) -> bool:
        """Wait for a moment and kill a worker that is there, or the driver; False where the driver ended before."""
        until = time.monotonic() + (drawn.uniform(0, 12) if moment == "any" else 0.0)
        while driver.poll() is None:
            try:
                found = self.victims(psutil.Process(driver.pid), moment) if time.monotonic() >= until else []
            except psutil.Error:
                return False
            if found:
                (driver if whole else drawn.choice(found)).kill()
                name = f"{'driver' if whole else 'worker'} at {moment}"
                self.kills[name] = self.kills.get(name, 0) + 1
                return True
            time.sleep(0.005)
        return False

    def go(self, drawn: random.Random) -> list[tuple[int, str]]:
        """One round: kills, and starts with another number of processes, until the run is finished."""
        self.fresh()
        said, kills, until = list[tuple[int, str]](), 0, time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            driver = self.driver(drawn.choice([1, 2, 3] if self.engine == "torchrun" else [2, 3, 4]))
            while kills < A_ROUND and self.kill_at(
                driver, drawn.choice(MOMENTS), drawn, whole=self.engine != "torchrun" and drawn.random() < 0.25
            ):
                kills += 1
            text, _ = driver.communicate(timeout=PATIENCE_S)
            said.append((driver.returncode, text[-3000:]))
            if driver.returncode == 0:
                break
            # Jobs that outlive their driver keep the folder till they are through.
            time.sleep(1)
        return said


@pytest.fixture
def rounds(settings: Any, tmp_path: Path, request: pytest.FixtureRequest, moments_of: Any) -> Rounds:
    engine = request.param
    pytest.importorskip(ENGINES[engine][1])
    triples = ["slim_{resnet,vgg}/{gradcam,layercam,center}/{softmax,sigmoid}"]
    return Rounds({**settings, "shard_size": 1, "triples": triples}, tmp_path, engine, moments_of)


@pytest.mark.parametrize("rounds", ENGINES, indirect=True)
def test_kills_at_random_moments_change_no_byte(rounds: Rounds, tmp_path: Path, tables: Any) -> None:
    wanted = int(os.environ.get("CAMBENCH_CHAOS_KILLS", "30"))
    run(**{**rounds.fields, "out": tmp_path / "alone"})
    drawn = random.Random(rounds.engine)
    # A short run may end before its first moment comes.
    while sum(rounds.kills.values()) < wanted and rounds.began < wanted:
        said = rounds.go(drawn)
        assert said[-1][0] == 0, said
        assert json.loads((rounds.out / "run.json").read_text())["finished"]
        assert tables(rounds.out) == tables(tmp_path / "alone"), said
        print(rounds.engine, rounds.began, rounds.kills, [code for code, _ in said])
    assert sum(rounds.kills.values()) >= wanted, rounds.kills


@pytest.mark.parametrize("rounds", ["ray"], indirect=True)
def test_a_worker_that_is_lost_for_good_is_done_without(rounds: Rounds, tmp_path: Path, tables: Any) -> None:
    run(**{**rounds.fields, "out": tmp_path / "alone"})
    rounds.fresh()
    driver = rounds.driver(3, max_retries=0)
    assert rounds.kill_at(driver, "head", random.Random(0), whole=False)
    said, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, said
    assert "others did its part" in said
    assert tables(rounds.out) == tables(tmp_path / "alone")


@pytest.mark.parametrize("rounds", ["ray"], indirect=True)
def test_a_machine_that_is_lost_for_good(rounds: Rounds, tmp_path: Path, monkeypatch: Any, tables: Any) -> None:
    from ray.cluster_utils import Cluster

    run(**{**rounds.fields, "out": tmp_path / "alone"})
    rounds.fresh()
    for name, value in rounds.env.items():
        monkeypatch.setenv(name, value)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        monkeypatch.setitem(ENGINES, "ray", (f"ray:{cluster.address}", "ray"))
        driver = rounds.driver(2, num_cpus=1)
        while driver.poll() is None and len(list(rounds.out.glob(".lock.rank*.holder"))) < 2:
            time.sleep(0.05)
        cluster.remove_node(lost, allow_graceful=False)
        # What ran there waits for a machine that never comes; the other worker ends the run.
        said, _ = driver.communicate(timeout=PATIENCE_S)
    finally:
        cluster.shutdown()
    assert driver.returncode == 0, said
    assert tables(rounds.out) == tables(tmp_path / "alone")


def test_two_devices_write_the_tables_of_one_process(settings: Any, tmp_path: Path, tables: Any) -> None:
    fields = {**settings, "shard_size": 2, "triples": ("slim_resnet/{gradcam,center}/softmax",)}
    fields.pop("device", None)
    run(**{**fields, "out": tmp_path / "alone"})
    result = run(**{**fields, "out": tmp_path / "shared"}, devices="cpu,cpu")
    assert result.run.manifest.finished
    assert tables(tmp_path / "shared") == tables(tmp_path / "alone")
