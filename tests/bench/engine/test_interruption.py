"""Killed runs continue; two processes cannot write one folder."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from cambench.bench.engine import head_keeper
from cambench.bench.notebook.runs import run
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
    monkeypatch.setattr("cambench.bench.engine.run.POLL_S", 0.01)
    monkeypatch.setenv("WORLD_SIZE", str(world))
    monkeypatch.setenv("RANK", str(rank))


def test_whichever_ranks_come_and_go_the_last_one_closes_the_door(settings, tmp_path, monkeypatch):
    settings = {
        **settings,
        "shard_size": 2,
        "triples": ("slim_resnet/{cam,center}/{softmax,sigmoid}",),
        "retrain": True,
    }
    alone = {**settings, "out": tmp_path / "alone"}
    run(**alone)
    shared = {**settings, "out": tmp_path / "shared"}
    as_rank(monkeypatch, 2, 3)
    manifest = RunManifest.model_validate_json((alone["out"] / "run.json").read_bytes())
    manifest = manifest.model_copy(update={"backbones": {}, "finished": False})
    # Another process has a shard and the head: they are waited for, and the rest is done meanwhile.
    trained, seen = [], []
    train = head_keeper.train_head
    monkeypatch.setattr(head_keeper, "train_head", lambda *a, **k: (trained.append(1), train(*a, **k))[1])
    marks = shared["out"] / "shards" / "slim_resnet"
    with RunStore.open(shared["out"], manifest, rank=0, world_size=3) as other, ExitStack() as head, ExitStack() as one:
        assert head.enter_context(other.claim("slim_resnet", "sigmoid"))
        assert one.enter_context(other.claim("slim_resnet", 1))

        def release():
            time.sleep(1.0)
            seen.append((list(trained), marks.exists()))
            head.close()
            while not (marks / "00000.json").exists():
                time.sleep(0.01)
            time.sleep(0.3)
            seen.append((list(trained), (marks / "00001.json").exists()))
            one.close()

        thread = threading.Thread(target=release, daemon=True)
        thread.start()
        early = run(**shared)
        thread.join(10)
    assert early.others_at_work
    assert seen == [([], False), ([1], False)], "what another process is at work on is left to it"
    assert (marks / "00001.json").exists(), "and done here when that process is gone"
    assert not (shared["out"] / "tables").exists()
    monkeypatch.undo()
    as_rank(monkeypatch, 1, 2)
    late = run(**shared)
    assert not late.others_at_work
    assert late.run.manifest.finished
    assert tables(shared["out"]) == tables(alone["out"])
    as_rank(monkeypatch, 0, 2)
    assert not run(**shared).others_at_work, "a rank that comes after the end finds it"


def test_without_locks_ranks_keep_to_their_shares_and_leave_no_table_that_looks_whole(settings, monkeypatch):
    settings = {**settings, "shard_size": 2, "triples": ("slim_resnet/{cam,center}/softmax",), "lock": False}
    for rank in (2, 0):
        as_rank(monkeypatch, rank, 3)
        result = run(**settings)
        assert result.others_at_work
        assert not result.run.manifest.finished
        assert not (settings["out"] / "tables").exists()
    as_rank(monkeypatch, 1, 3)
    assert run(**settings).run.manifest.finished


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
