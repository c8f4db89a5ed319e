"""``cambench compare``: what its words mean, exit codes, files."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from cambench.bench.cli import compare as cli_compare
from cambench.bench.cli.app import _exit_code
from cambench.bench.host.errors import UsageError
from cambench.registry import UnknownNameError
from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.statistics.comparison import compare_triples

A, B, C = "net/cam/softmax", "net/cam/sigmoid", "net/gradcam/sigmoid"
ROWS = 60


def fill(toy, out, located, triples=(A, B, C), rows=ROWS, split="test"):
    """A run in which triple t locates the first ``located[t]`` images."""
    manifest = toy.manifest(rows=rows, shard_size=32, triples=list(triples), aliases={})
    manifest.dataset.split = split
    with RunStore.open(out, manifest) as store:
        for shard in range(store.manifest.shards):
            span = np.array(manifest.rows_of(shard))
            found = {}
            for t in triples:
                hits = np.where(span < located[t], 255, 0).astype(np.uint8)[:, None, None] + np.zeros((3, 32), np.uint8)
                same = {"y": span / 100 + 0.1, "o": np.full(len(span), 0.5), "evidence_precision": span / 100}
                found[t] = toy.rows(t, span.tolist(), hits_single=hits, hits_multi=hits, predicted=span % 4, **same)
            store.write_shard("net", shard, found)
        store.finish()
    return out


@pytest.fixture(scope="module")
def folders(toy, tmp_path_factory):
    root = tmp_path_factory.mktemp("cli")
    fill(toy, root / "one", {A: 20, B: 45, C: 20})
    fill(toy, root / "two", {A: 44, B: 21, C: 20})
    fill(toy, root / "val", {A: 30, B: 31, C: 20}, split="val")
    return root


@pytest.fixture
def call(folders, monkeypatch):
    """``call(*words) -> (exit code, output)`` in the folder of the runs ``one`` and ``two``."""
    monkeypatch.chdir(folders)
    monkeypatch.setenv("COLUMNS", "250")
    app = typer.Typer()
    app.command()(cli_compare.compare)

    def invoke(*words):
        answer = CliRunner().invoke(app, [*map(str, words), "--resamples", "200"])
        if answer.exception is not None and not isinstance(answer.exception, SystemExit):
            raise answer.exception
        return answer.exit_code, answer.output

    return invoke


def test_triples_of_one_run(call):
    code, text = call("one", A, B)
    assert code == 0
    assert f"{B} against {A}" in text
    assert "better" in text
    assert "95%, image bootstrap, 200 resamples, seed 0" in text


def test_the_first_is_the_reference_unless_all_pairs(call):
    _, text = call("one", A, B, C)
    assert f"{B} against {A}" in text
    assert f"{C} against {B}" not in text
    _, text = call("one", "net/cam/*", C, "--all-pairs")
    assert f"{C} against {A}" in text
    assert f"{C} against {B}" in text
    _, text = call("one", "net/{cam,gradcam}/sigmoid")
    assert f"{C} against {B}" in text


def test_shared_triples_of_two_runs(call):
    code, text = call("one", "two")
    assert code == 0
    for triple in (A, B, C):
        assert f"{triple} in two against {triple} in one" in text
    _, text = call("one", "two", A)
    assert f"{A} in two against {A} in one" in text
    assert f"{B} in" not in text


def test_triples_that_the_runs_do_not_share(toy, tmp_path, call, folders):
    other = fill(toy, tmp_path / "other", {B: 1}, triples=(B,))
    fill(toy, tmp_path / "base", {A: 40}, triples=(A,))
    code, text = call(tmp_path / "base", other, A, B)
    assert code == 0
    assert f"{B} in {other} against {A} in {tmp_path / 'base'}" in text
    with pytest.raises(UsageError, match=r"share no triple: .*base has net/cam/softmax; .*other has net/cam/sigmoid"):
        call(tmp_path / "base", other)


def test_worse_is_exit_code_one(call):
    assert call("one", A, B, "--fail-if-worse", "gt_known_loc")[0] == 0
    code, text = call("one", B, A, "--fail-if-worse", "gt_known_loc")
    assert code == 1
    assert f"worse: {A} than {B} in GT-known Loc by 41.67" in text
    # Equal scores, and a worse one that is not named, do not fail.
    assert call("one", A, C, "--fail-if-worse", "gt_known_loc")[0] == 0
    assert call("one", B, A, "--fail-if-worse", "average_drop", "--fail-if-worse", "evidence_precision")[0] == 0
    assert call("one", "two", "--fail-if-worse", "gt_known_loc")[0] == 1


def test_one_means_worse_and_nothing_else(call, folders):
    (folders / "file").touch()
    with pytest.raises(UsageError, match="file"):
        call("one", A, B, "--out", "file/diff.md")


@pytest.mark.parametrize(("order", "code"), [((B, A), 1), ((A, B), 0)])
def test_a_reader_that_leaves_early_changes_no_exit_code(folders, order, code):
    words = [sys.executable, "-m", "cambench", "compare", "one", *order, "--resamples", "50"]
    read, write = os.pipe()
    os.close(read)
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    done = subprocess.run(
        [*words, "--fail-if-worse", "gt_known_loc"], cwd=folders, stdout=write, stderr=subprocess.PIPE, env=env
    )
    os.close(write)
    assert done.returncode == code, done.stderr


def test_itself_is_said_to_be_itself(call):
    code, text = call("one", A, A, "--fail-if-worse", "gt_known_loc")
    assert code == 0
    assert f"{A} of one is compared with itself: every difference is zero" in text
    code, text = call("one", "one")
    assert code == 0
    assert text.count("is compared with itself") == 3
    _, text = call("one", C, A, "--images", 0, "--classes", 0)
    assert "By class" not in text


def test_files(call, folders):
    code, text = call("one", A, B, "--out", "diff.md", "--out", "diff.csv")
    assert code == 0
    assert "wrote diff.md" in text
    assert "+41.67" in (folders / "diff.md").read_text()
    with (folders / "diff.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["kind"] for row in rows} == {"metric", "image", "class"}
    call("one", A, B, "--out", "again.md")
    assert (folders / "again.md").read_bytes() == (folders / "diff.md").read_bytes()


def test_val_adds_the_threshold_transfer(call):
    _, text = call("one", A, B, "--val", "val")
    assert "Threshold transfer" in text
    assert "oracle τ" in text
    with pytest.raises(UsageError, match="both are over toy test"):
        call("one", A, B, "--val", "two")
    with pytest.raises(UsageError, match="--val is given 2 times for 1 run"):
        call("one", A, B, "--val", "two", "--val", "two")


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["one"], "name at least two triples"),
        (["one", A], "name at least two triples"),
        (["missing", A, B], "'missing' is neither a run folder nor a triple"),
        ([A, B], "no run folder"),
        (["one", A, B, "--out", "x.pdf"], "ends in .md or .csv"),
        (["one", A, B, "--level", "95"], "--level '95': expected a fraction"),
        (["one", A, B, "--by", "nope"], "do not both have the metric 'nope'"),
        (["one", A, B, "--fail-if-worse", "nope"], "no metric nope in these records"),
        (["one", "net/{cam/softmax", B], "'{' is not closed"),
        ([".", A, B], "not a run folder"),
    ],
)
def test_wrong_use_is_one_readable_error(call, words, match):
    with pytest.raises(UsageError, match=match) as caught:
        call(*words)
    assert _exit_code(caught.value) == 2


def test_an_unknown_triple_has_near_names(call):
    with pytest.raises(UnknownNameError, match="did you mean 'net/cam/softmax'"):
        call("one", "net/cam/sofmax", B)


def test_other_image_sets_need_intersect(toy, tmp_path, call):
    manifest = toy.manifest(rows=ROWS, shard_size=32, triples=[A])
    with RunStore.open(tmp_path / "part", manifest) as store:
        store.write_shard("net", 0, {A: toy.rows(A, range(32))})
    with pytest.raises(UsageError, match=r"(?s)32 common images with --intersect.*28 image\(s\) only in one"):
        call("one", tmp_path / "part", A)
    code, text = call("one", tmp_path / "part", A, "--intersect")
    assert code == 0
    assert "over the 32 common images only (--intersect)" in text


def test_triples_with_their_folders_are_compared_across(call):
    code, output = call(f"one:{A}", f"two:{B}")
    assert code == 0
    assert f"{B} in two against {A} in one" in output
    assert f"{A} in two" not in output
    with pytest.raises(UsageError, match="for every triple"):
        call(f"one:{A}", B)
    with pytest.raises(UsageError, match="for every run"):
        call(f"one:{A}", f"one:{B}", "two")
    with pytest.raises(UsageError, match="name a second"):
        call(f"one:{A}")
    with pytest.raises(UnknownNameError):
        call(f"one:{A}", "two:net/nothing/softmax")


def test_a_run_compared_with_itself_says_so_once(call):
    code, output = call("one", "one")
    assert code == 0
    assert "is compared with itself: every difference is zero" in output
    code, output = call("one", A, A)
    assert "compared with itself" in output


def test_damaged_records_are_named_not_taken_for_unknown_triples(toy, tmp_path, monkeypatch, call):
    out = fill(toy, tmp_path / "run", {A: 20, B: 45, C: 20})
    for part in sorted((out / "records" / "net" / "cam" / "sigmoid").iterdir()):
        part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(
        UsageError, match=r"no records of net/cam/sigmoid to compare: .*part-00000.parquet: has 100 bytes"
    ):
        call(out, A, B)
    marks = sorted((out / "shards" / "net").iterdir())
    for mark in marks:
        mark.write_text("{")
    with pytest.raises(UsageError, match=rf"has no records yet \({marks[0]}: damaged.*Give the run's command again"):
        call(out, A, C)


def test_differences_below_the_shown_digits_are_no_differences(toy, tmp_path):
    """Another batch size alone moves probabilities in their last bits."""
    manifest = toy.manifest(rows=32, shard_size=32, triples=[A, B], aliases={})
    span = np.arange(32)
    with RunStore.open(tmp_path / "run", manifest) as store:
        found = {
            t: toy.rows(t, span.tolist(), y=np.full(32, 0.9), o=np.full(32, 0.5 + shift))
            for t, shift in ((A, 0.0), (B, 1e-6))
        }
        found[B]["o"][3] = 0.6
        store.write_shard("net", 0, found)
        store.finish()
    (pair,) = compare_triples(load_run(tmp_path / "run"), A, B, by="average_drop").pairs
    assert [row.index for row in (*pair.gains, *pair.losses)] == [3]
    assert sum(c.better + c.worse for c in pair.classes) == 1


def test_a_triple_without_a_whole_part_takes_no_image_from_the_others(toy, tmp_path):
    out = fill(toy, tmp_path / "run", {A: 20, B: 45, C: 20})
    for part in (out / "records" / "net" / "cam" / "sigmoid").iterdir():
        part.write_bytes(b"")
    run = load_run(out)
    assert run.triples == [A, C]
    assert len(run.index) == ROWS
    assert all(f"{B} has no whole part and is left out itself until the same run" in line for line in run.problems)
