"""Workers and drivers killed at random moments, on every engine: the tables are those of one process, to the byte."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import psutil
import pytest

from cambench.bench.notebook.runs import run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")]
SCORES = ("scores.md", "scores.csv", "scores.tex")
WORKERS = ("executors.run_worker", "submitit", "ray::work", "cambench run")
ENGINES = {
    "local": ("local", None),
    "ray": ("ray", "ray"),
    "slurm": ("slurm:local", "submitit"),
    "torchrun": ("torchrun", "torch"),
}


def command(engine, file, world):
    program = [sys.executable, "-m", "cambench", "run", "--config", str(file)]
    if engine == "torchrun":
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
        return [*launcher, "-m", *program[2:], "--on", "torchrun"]
    options = ["--on-option", "num_cpus=1"] if engine == "ray" else []
    return [*program, "--on", ENGINES[engine][0], "--processes", str(world), *options]


def victims(driver):
    """Processes below the driver that compute."""
    found = []
    for process in driver.children(recursive=True):
        try:
            if any(word in " ".join(process.cmdline()) for word in WORKERS):
                found.append(process)
        except psutil.Error:
            continue
    return found


def tables(out):
    return {name: (out / "tables" / name).read_bytes() for name in SCORES}


@pytest.mark.parametrize("engine", ENGINES)
def test_kills_at_random_moments_change_no_byte(settings, tmp_path, engine):
    if engine != "local" and find_spec(ENGINES[engine][1]) is None:
        pytest.skip(f"{engine} is not installed")
    kills = int(os.environ.get("CAMBENCH_CHAOS_KILLS", "6"))
    fields = {**settings, "shard_size": 1, "triples": ["slim_{resnet,vgg}/{gradcam,layercam,center}/{softmax,sigmoid}"]}
    alone = {**fields, "out": tmp_path / "alone"}
    run(**alone)
    file, out = tmp_path / "run.yaml", tmp_path / "shared"
    file.write_text(json.dumps({**fields, "root": str(fields["root"]), "out": str(out)}), encoding="utf-8")
    drawn, log = random.Random(engine), []
    for attempt in range(4 * kills):
        driver = subprocess.Popen(
            command(engine, file, 1 + (attempt + 1) % 3), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        while kills and driver.poll() is None:
            time.sleep(drawn.uniform(0.5, 8))
            chosen = victims(psutil.Process(driver.pid)) if driver.poll() is None else []
            if kills % 3 == 0 and driver.poll() is None:
                driver.kill()
                kills -= 1
            elif chosen:
                drawn.choice(chosen).kill()
                kills -= 1
        said, _ = driver.communicate(timeout=1200)
        log.append((driver.returncode, said[-2000:]))
        if driver.returncode == 0 and (out / "tables" / "scores.md").exists():
            break
        time.sleep(2)
    assert log[-1][0] == 0, log
    assert tables(out) == tables(alone["out"])
    assert json.loads((out / "run.json").read_text())["finished"]


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_every_engine_writes_the_tables_of_one_process(settings, tmp_path, engine):
    on, package = ENGINES[engine]
    pytest.importorskip(package)
    fields = {**settings, "shard_size": 2, "triples": ("slim_resnet/{cam,center}/{softmax,sigmoid}",)}
    run(**{**fields, "out": tmp_path / "alone"})
    options = {"num_cpus": 1} if engine == "ray" else {}
    result = run(**{**fields, "out": tmp_path / "shared"}, on=on, processes=2, on_options=options)
    assert result.run.manifest.finished
    assert tables(tmp_path / "shared") == tables(tmp_path / "alone")


def test_two_devices_write_the_tables_of_one_process(settings, tmp_path):
    fields = {**settings, "shard_size": 2, "triples": ("slim_resnet/{gradcam,center}/softmax",)}
    fields.pop("device", None)
    run(**{**fields, "out": tmp_path / "alone"})
    result = run(**{**fields, "out": tmp_path / "shared"}, devices="cpu,cpu")
    assert result.run.manifest.finished
    assert tables(tmp_path / "shared") == tables(tmp_path / "alone")
