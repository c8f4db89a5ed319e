"""Killed runs continue; two processes cannot write one folder."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

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


def test_ranks_share_the_shards_and_give_the_same_tables(settings, tmp_path, monkeypatch):
    alone = {**settings, "out": tmp_path / "alone"}
    run(**alone)
    shared = {**settings, "out": tmp_path / "shared"}
    for rank in (1, 0):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
        if rank:
            # Rank 1 waits for rank 0's manifest: here rank 0 comes second, so its manifest is written first by hand.
            manifest = RunManifest.model_validate_json((alone["out"] / "run.json").read_bytes())
            RunStore.open(shared["out"], manifest.model_copy(update={"failures": [], "finished": False})).close()
        run(**shared)
    assert tables(shared["out"]) == tables(alone["out"])
