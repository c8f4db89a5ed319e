import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from cambench.atomic import atomic_path
from cambench.results.records.load import load_run
from cambench.results.records.parts import part_path
from cambench.results.records.record_errors import RecordError, RunLockedError, RunMismatchError
from cambench.results.records.run_folder import read_manifest
from cambench.results.records.store import RunStore
from cambench.triple import file_name, name_of_file

HELPERS = Path(__file__).parents[1] / "conftest.py"


def snapshot(folder):
    return {p.relative_to(folder): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


def script(body):
    head = f"""
        import importlib.util, itertools, os, signal, sys, time
        spec = importlib.util.spec_from_file_location("toys", {str(HELPERS)!r})
        toys = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(toys)
        from cambench.results.records.store import RunStore
    """
    return [sys.executable, "-c", textwrap.dedent(head) + textwrap.dedent(body)]


def test_round_trip(tmp_path, toy):
    manifest = toy.manifest()
    run = load_run(toy.fill(tmp_path / "run", manifest))
    assert run.manifest.finished
    assert run.triples == manifest.triples
    assert run.problems == []
    expected = toy.rows("net/cam/sigmoid", range(11))
    for name, value in expected.items():
        stored = run.column("net/cam/sigmoid", name)
        assert np.array_equal(stored, value), name
    assert np.array_equal(run.column("net/gradcam/softmax", "y"), toy.rows("net/cam/softmax", range(11))["y"])
    frame = run.records("net/cam/sigmoid")
    assert list(frame["correct"]) == [i % 3 != 0 or i % 4 == 0 for i in range(11)]


@pytest.mark.parametrize("name", ["cuda:99", "s3:", "file:", "a%20b", "50 % #1?"])
def test_a_folder_whose_name_reads_like_an_address_is_a_folder(tmp_path, toy, monkeypatch, name):
    """A relative name: pyarrow takes what stands before a colon for a scheme."""
    monkeypatch.chdir(tmp_path)
    run = load_run(toy.fill(Path(name), toy.manifest()))
    assert np.array_equal(run.column("net/cam/sigmoid", "y"), toy.rows("net/cam/sigmoid", range(11))["y"])
    assert (tmp_path / name / "run.json").is_file()


def test_shuffled_rows_are_stored_by_index(tmp_path, toy):
    with RunStore.open(
        tmp_path / "run", toy.manifest(rows=4, triples=["net/cam/softmax"], aliases={}, identities={})
    ) as s:
        s.write_shard("net", 0, {"net/cam/softmax": toy.rows("net/cam/softmax", [2, 0, 3, 1])})
    assert list(load_run(tmp_path / "run").image_ids) == [f"img/{i:03d}.jpg" for i in range(4)]


def test_shard_done_follows_triples_and_aliases(tmp_path, toy):
    manifest = toy.manifest()
    with RunStore.open(tmp_path / "run", manifest) as store:
        store.write_shard("net", 0, {"net/cam/softmax": toy.rows("net/cam/softmax", range(4))})
        assert store.shard_done("net", 0, ["net/cam/softmax", "net/gradcam/softmax"])
        assert not store.shard_done("net", 0, manifest.triples)
        assert not store.shard_done("net", 1, ["net/cam/softmax"])
        store.write_shard("net", 0, {"net/cam/sigmoid": toy.rows("net/cam/sigmoid", range(4))})
        assert store.shard_done("net", 0, ["net/cam/softmax", "net/cam/sigmoid"])
        with pytest.raises(RecordError, match="alias"):
            store.write_shard("net", 0, {"net/gradcam/softmax": toy.rows("net/cam/softmax", range(4))})


def test_triples_and_backbones_are_added_to_a_run(tmp_path, toy):
    out = toy.fill(tmp_path / "run", toy.manifest(triples=["net/cam/softmax"], aliases={}, identities={}))
    before = part_path(out, "net/cam/softmax", 0).stat().st_mtime_ns
    toy.fill(out, toy.manifest(triples=["net/cam/sigmoid"], aliases={}, identities={}))
    toy.fill(out, toy.manifest("other", triples=["other/cam/softmax"], aliases={}, identities={}))
    run = load_run(out)
    assert run.triples == ["net/cam/softmax", "net/cam/sigmoid", "other/cam/softmax"]
    assert sorted(run.manifest.backbones) == ["net", "other"]
    assert part_path(out, "net/cam/softmax", 0).stat().st_mtime_ns == before
    assert run.manifest.durations_s == {"total": 3.0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"code_version": "9.9"}, "code version"),
        ({"options": {"dtype": "bfloat16"}}, "option dtype"),
        ({"protocol": "wsoleval"}, "map_rule"),
        ({"fingerprint": "0" * 16}, "data-set fingerprint"),
        ({"weights": "w1"}, "weights of net"),
        ({"sigmoid": "s1"}, "sigmoid branch"),
    ],
)
def test_another_run_is_refused_and_untouched(tmp_path, toy, changes, says):
    from cambench.protocol import PROTOCOLS

    out = toy.fill(tmp_path / "run", toy.manifest())
    before = snapshot(out)
    other = toy.manifest()
    if "protocol" in changes:
        other.protocol = PROTOCOLS.get(changes["protocol"])
    elif "fingerprint" in changes:
        other.dataset.fingerprint = changes["fingerprint"]
    elif "weights" in changes or "sigmoid" in changes:
        other.backbones["net"] = toy.backbone(**changes)
    else:
        other = toy.manifest(**changes)
    with pytest.raises(RunMismatchError, match=says) as caught:
        RunStore.open(out, other)
    assert len(caught.value.differences) >= 1
    assert snapshot(out) == before


def test_a_run_that_wrote_nothing_makes_way_for_a_mended_one(tmp_path, toy):
    out, mended = tmp_path / "run", toy.manifest(options={"dtype": "bfloat16"})
    RunStore.open(out, toy.manifest()).close()
    # Of several processes, one with other options is no mended command.
    with pytest.raises(RunMismatchError, match="option dtype"):
        RunStore.open(out, mended, rank=1, world_size=2)
    RunStore.open(out, mended).close()
    assert read_manifest(out).options == {"dtype": "bfloat16"}
    (out / "heads").mkdir()
    (out / "heads" / "net.sigmoid.safetensors").touch()
    with pytest.raises(RunMismatchError, match="option dtype"):
        RunStore.open(out, toy.manifest())


def test_library_versions_of_all_sessions_are_kept(tmp_path, toy):
    for torch in ("2.4", "2.5", "2.5"):
        RunStore.open(tmp_path / "run", toy.manifest(versions={"python": "3.11", "torch": torch})).close()
    assert read_manifest(tmp_path / "run").versions == {"python": "3.11", "torch": "2.4, 2.5"}


def test_add_backbone_refuses_other_weights(tmp_path, toy):
    out = toy.fill(tmp_path / "run", toy.manifest())
    with RunStore.open(out, toy.manifest(backbones={})) as store:
        store.add_backbone("net", toy.backbone())
        with pytest.raises(RunMismatchError, match="sigmoid branch"):
            store.add_backbone("net", toy.backbone(sigmoid="s1"))


def test_folder_of_something_else_is_refused(tmp_path, toy):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunMismatchError, match=r"thesis\.tex"):
        RunStore.open(tmp_path, toy.manifest())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(RunMismatchError, match="a file"):
        RunStore.open(tmp_path / "thesis.tex", toy.manifest())


def test_older_schema_is_refused_by_name(tmp_path, toy):
    out = toy.fill(tmp_path / "run", toy.manifest())
    content = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**content, "schema_version": 0, "code_version": "0.0.3"}))
    with pytest.raises(RecordError, match=r"schema version 0 \(cambench 0\.0\.3\)"):
        read_manifest(out)
    (out / "run.json").write_text('{"schema_ver')
    with pytest.raises(RecordError, match="damaged"):
        load_run(out)
    with pytest.raises(RecordError, match="not a run folder"):
        load_run(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"y": None, "hits_multi": None}, "missing column"),
        ({"speed": np.zeros(4)}, "unknown column"),
        ({"peak": np.full(4, 255.0)}, "must be integers"),
        ({"peak": np.full(4, 300)}, "outside uint8"),
        ({"hits_multi": np.zeros((4, 2, 32), np.uint8)}, "expected .3, 32"),
        ({"label": np.zeros((4, 1), int)}, "has shape"),
        ({"index": np.array([0, 1, 2, 2])}, "lost rows"),
        ({"index": np.array([0, 1, 2, 7])}, "lost rows"),
    ],
)
def test_wrong_columns_are_refused(tmp_path, toy, change, says):
    columns = {k: v for k, v in {**toy.rows("net/cam/softmax", range(4)), **change}.items() if v is not None}
    with RunStore.open(tmp_path / "run", toy.manifest()) as store:
        with pytest.raises(RecordError, match=says):
            store.write_shard("net", 0, {"net/cam/softmax": columns})
        assert not store.shard_done("net", 0, ["net/cam/softmax"])


def test_lost_image_is_refused(tmp_path, toy):
    with RunStore.open(tmp_path / "run", toy.manifest()) as store, pytest.raises(RecordError, match=r"lost rows \[3\]"):
        store.write_shard("net", 0, {"net/cam/softmax": toy.rows("net/cam/softmax", range(3))})


def test_hostile_names_become_safe_paths(tmp_path, toy):
    for name in ("timm:a/../../b.c", "..", ".hidden", "a b\n%", "résnet"):
        assert name_of_file(file_name(name)) == name
        assert "/" not in file_name(name)
        assert not file_name(name).startswith(".")
    backbone = "timm:hf_hub:../../evil"
    out = toy.fill(tmp_path / "run", toy.manifest(backbone))
    assert load_run(out).triples[0] == f"{backbone}/cam/softmax"
    assert {p.name for p in tmp_path.iterdir()} == {"run"}


def test_a_full_disk_names_the_file_that_was_meant(tmp_path):
    with pytest.raises(OSError, match=r"No space left.*run\.json"), atomic_path(tmp_path / "run.json"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_atomic_path_leaves_nothing_behind_on_failure(tmp_path):
    def broken():
        with atomic_path(tmp_path / "x") as temp:
            temp.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        broken()
    assert list(tmp_path.iterdir()) == []


def test_killed_while_writing_continues(tmp_path, toy):
    out = tmp_path / "run"
    body = f"""
        from pathlib import Path
        manifest = toys.make_manifest()
        real, calls = Path.write_bytes, itertools.count(1)
        def half(path, content):
            if ".parquet" in path.name and next(calls) == 6:
                real(path, bytes(content)[:200])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(path, content)
        Path.write_bytes = half
        toys.fill({str(out)!r}, manifest)
    """
    done = subprocess.run(script(body), capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(p.name.endswith(".tmp") for p in out.rglob("*"))
    partial = load_run(out)
    assert list(partial.index) == [0, 1, 2, 3]
    assert not partial.manifest.finished
    toy.fill(out, toy.manifest())
    whole = toy.fill(tmp_path / "whole", toy.manifest())
    for triple in toy.canonical(toy.manifest()):
        for shard in range(3):
            assert part_path(out, triple, shard).read_bytes() == part_path(whole, triple, shard).read_bytes()


HOLD = """
    store = RunStore.open({out!r}, toys.make_manifest())
    forked = {fork} and os.fork() > 0
    if not forked:
        print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_second_process_is_refused_with_the_pid(tmp_path, toy):
    out = tmp_path / "run"
    holder = subprocess.Popen(script(HOLD.format(out=str(out), fork=False)), stdout=subprocess.PIPE)
    try:
        holder.stdout.readline()
        with pytest.raises(RunLockedError, match=f"process {holder.pid}"):
            RunStore.open(out, toy.manifest())
    finally:
        holder.kill()
        holder.wait()
    RunStore.open(out, toy.manifest()).close()


def test_killed_holder_with_a_living_worker_frees_the_folder(tmp_path, toy):
    out = tmp_path / "run"
    holder = subprocess.Popen(script(HOLD.format(out=str(out), fork=True)), stdout=subprocess.PIPE)
    worker = int(holder.stdout.readline())
    try:
        holder.kill()
        holder.wait()
        RunStore.open(out, toy.manifest()).close()
    finally:
        os.kill(worker, signal.SIGKILL)


def test_ranks_share_a_folder_and_a_second_launch_does_not(tmp_path, toy):
    out, manifest = tmp_path / "run", toy.manifest()
    with (
        RunStore.open(out, manifest, rank=0, world_size=2) as zero,
        RunStore.open(out, manifest, rank=1, world_size=2) as one,
    ):
        with pytest.raises(RunLockedError, match=str(os.getpid())):
            RunStore.open(out, manifest, rank=1, world_size=2)
        with pytest.raises(RunLockedError):
            RunStore.open(out, manifest)
        for shard in range(3):
            toy.write((zero, one)[shard % 2], "net", shard)
        one.finish()
        assert zero.finish().finished
    single = toy.fill(tmp_path / "single", manifest)
    for triple in toy.canonical(manifest):
        assert np.array_equal(load_run(out).column(triple, "y"), load_run(single).column(triple, "y"))


def test_any_rank_may_come_first_and_the_last_one_closes(tmp_path, toy):
    out, manifest = tmp_path / "run", toy.manifest()
    with (
        RunStore.open(out, manifest, rank=1, world_size=2) as one,
        RunStore.open(out, manifest, rank=0, world_size=2) as zero,
    ):
        toy.write(one, "net", 1)
        assert not one.finish().finished
        assert one.others_at_work
        for shard in (0, 2):
            toy.write(zero, "net", shard)
        assert zero.finish().finished
        assert not zero.others_at_work
        assert not zero.unfinished


def test_the_last_rank_says_which_shards_nobody_computed(tmp_path, toy):
    out, manifest = tmp_path / "run", toy.manifest()
    with RunStore.open(out, manifest, rank=0, world_size=3) as zero:
        toy.write(zero, "net", 0)
        assert not zero.finish().finished
    assert not zero.others_at_work
    assert set(zero.unfinished) == set(manifest.triples)
    assert zero.unfinished["net/cam/softmax"] == [1, 2]


def test_a_claim_is_of_one_process_and_is_free_after_it(tmp_path, toy):
    out, manifest = tmp_path / "run", toy.manifest()
    with (
        RunStore.open(out, manifest, rank=1, world_size=2) as one,
        RunStore.open(out, manifest, rank=0, world_size=2) as zero,
    ):
        with one.claim("a/net", 0) as mine, zero.claim("a/net", 0) as also, zero.claim("a/net", 1) as other:
            assert (mine, also, other) == (True, False, True)
        with zero.claim("a/net", 0) as later:
            assert later
        assert not list((out / ".lock.claims").iterdir())
    with RunStore.open(out, manifest) as alone, alone.claim("a/net", 5) as mine:
        assert mine


def test_stage_timings_come_from_the_shards(tmp_path, toy):
    from cambench.results.records.timings import BackboneTiming, Timings

    with RunStore.open(tmp_path / "run", toy.manifest(rows=8)) as store:
        for shard in range(2):
            toy.write(store, "net", shard)
        timing = BackboneTiming(device="cpu", batch_size=4)
        manifest = store.finish(timings=Timings(backbones={"net": timing}))
    stage = manifest.timings.backbones["net"].stages["forward"]
    assert (stage.median_ms, stage.iqr_ms, stage.samples, stage.per) == (50.0, 0.0, 2, "shard")
