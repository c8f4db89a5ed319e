"""Killed runs continue; two processes cannot write one folder."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from cambench.bench.notebook.runs import IncompleteRunError, run
from cambench.results.records.manifest import RunManifest
from cambench.results.records.record_errors import RunLockedError
from cambench.results.records.store import RunStore

SCORES = ("scores.md", "scores.csv", "scores.tex")
SLOW_RUN = """
import json, sys, time
from pathlib import Path
from cambench.baselines.backbones.opening import open_backbone
from cambench.bench.notebook.runs import run
kind = type(open_backbone("slim_resnet"))
plain = kind.features
kind.features = lambda self, x: (time.sleep(0.05), plain(self, x))[1]
fields = json.loads(sys.argv[1])
run(**{**fields, "root": Path(fields["root"]), "out": Path(fields["out"])})
"""


def tables(out):
    return {name: (out / "tables" / name).read_bytes() for name in SCORES}


def start(fields):
    plain = {**fields, "root": str(fields["root"]), "out": str(fields["out"])}
    return subprocess.Popen([sys.executable, "-c", SLOW_RUN, json.dumps(plain)], stderr=subprocess.PIPE)


def wait_for(path, process):
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_run_continues_and_ends_with_identical_tables(settings, tmp_path):
    settings = {**settings, "shard_size": 4, "triples": ("slim_resnet/{cam,layercam,center}/*",)}
    whole = {**settings, "out": tmp_path / "whole"}
    run(**whole)
    cut = {**settings, "out": tmp_path / "cut"}
    process = start(cut)
    wait_for(cut["out"] / "shards" / "slim_resnet" / "00000.json", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (cut["out"] / "tables" / "scores.md").exists(), "it was killed before its end"
    run(**cut)
    assert tables(cut["out"]) == tables(whole["out"])


def test_a_second_process_on_the_folder_is_refused(settings):
    process = start(settings)
    try:
        wait_for(settings["out"] / "run.json", process)
        with pytest.raises(RunLockedError, match=str(process.pid)):
            run(**settings)
    finally:
        process.kill()
        process.wait()


def as_rank(monkeypatch, rank, world):
    monkeypatch.setattr("cambench.results.records.store.WAIT_FOR_RANKS_S", 0.0)
    monkeypatch.setenv("WORLD_SIZE", str(world))
    monkeypatch.setenv("RANK", str(rank))


def test_ranks_that_end_apart_leave_no_table_that_looks_whole(settings, tmp_path, monkeypatch):
    settings = {**settings, "shard_size": 2, "triples": ("slim_resnet/{cam,center}/softmax",)}
    alone = {**settings, "out": tmp_path / "alone"}
    run(**alone)
    shared = {**settings, "out": tmp_path / "shared"}
    shards = RunManifest.model_validate_json((alone["out"] / "run.json").read_bytes()).shards
    for rank in (2, 0):
        as_rank(monkeypatch, rank, 3)
        with pytest.raises(IncompleteRunError, match=rf"shards are missing.* of {shards} \(first: ") as raised:
            run(**shared)
        assert raised.value.unfinished
        assert not (shared["out"] / "tables").exists()
        assert not raised.value.result.run.manifest.finished
    # Another number of processes than before, and the first of them ends while the other is there.
    as_rank(monkeypatch, 1, 2)
    manifest = RunManifest.model_validate_json((shared["out"] / "run.json").read_bytes())
    with RunStore.open(shared["out"], manifest, rank=0, world_size=2):
        early = run(**shared)
        assert early.others_at_work
        assert not (shared["out"] / "tables").exists()
    as_rank(monkeypatch, 0, 2)
    late = run(**shared)
    assert not late.others_at_work
    assert late.run.manifest.finished
    assert tables(shared["out"]) == tables(alone["out"])


RANK = """
import sys
from cambench.bench.cli.app import main
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_of_one_launch_write_the_tables_once(settings, tmp_path, world):
    fields = {**settings, "shard_size": 2, "triples": ["slim_resnet/{cam,center}/softmax"]}
    alone = {**fields, "out": tmp_path / "alone"}
    run(**alone)
    out = tmp_path / "shared"
    file = tmp_path / "run.yaml"
    file.write_text(json.dumps({**fields, "root": str(fields["root"]), "out": str(out)}), encoding="utf-8")
    started = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, "run", "--config", str(file)],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(world)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    said = [process.communicate(timeout=400) for process in started]
    assert [process.returncode for process in started] == [0] * world, said
    wrote = [stdout for stdout, _ in said if "scores.md" in stdout]
    assert len(wrote) == 1, said
    assert tables(out) == tables(alone["out"])
