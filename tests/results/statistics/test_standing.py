"""Intervals, significance marks and ranks of the leaderboard, against the tests that they are made of."""

import csv
import re

import numpy as np
import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from cambench.protocol import PROTOCOLS
from cambench.results.records.load import load_run
from cambench.results.records.record_errors import RecordError
from cambench.results.records.store import RunStore
from cambench.results.scores.merge import MergeError, merge_runs
from cambench.results.statistics.bootstrap import bootstrap_run
from cambench.results.statistics.paired import differences
from cambench.results.statistics.standing import standing
from cambench.results.tables.leaderboard import write_leaderboard
from cambench.results.tables.selection import TableOptions

ROWS = 160
FULL = TableOptions(layout="full")
BASE, OURS = "net/cam/softmax", "net/cam/sigmoid"


def skilled_run(toy, out, backbone="net", split="test", **changes):
    """A run in which cam/sigmoid has the better boxes and random the worst; other columns are the toy's noise."""
    manifest = toy.manifest(backbone, rows=ROWS, shard_size=ROWS, **changes)
    manifest.dataset.split = split
    skill = {"sigmoid": 0.92, "softmax": 0.7}
    rows = {}
    for triple in toy.canonical(manifest):
        rng = np.random.default_rng(list(triple.encode()))
        head = triple.rsplit("/", 1)[1]
        right = rng.random(ROWS) < (0.1 if "/random/" in triple else skill[head])
        levels = np.broadcast_to(right[:, None, None], (ROWS, 3, 256))
        rows[triple] = toy.rows(triple, range(ROWS), hits_single=np.packbits(levels, axis=-1))
    with RunStore.open(out, manifest) as store:
        store.write_shard(backbone, 0, rows)
        store.finish()
    return load_run(out)


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    return skilled_run(toy, tmp_path_factory.mktemp("standing") / "run")


@pytest.fixture(scope="module")
def stats(run):
    return standing(merge_runs([run]), resamples=300, seed=1)


def table(text, title, names=2):
    """Rows of the Markdown table under a heading, by the cells that name them (method and head)."""
    part = text[text.index(title) :].split("\n\n")[1]
    lines = [[c.strip().replace("\\", "") for c in line.strip("|").split(" | ")] for line in part.splitlines()]
    heads = [head.removesuffix(" ‡") for head in lines[0]]
    return {tuple(line[:names]): dict(zip(heads, line, strict=True)) for line in lines[2:]}


def test_changes_are_paired_tests_with_holms_correction(run, stats):
    boot = bootstrap_run(run, resamples=300, seed=1)
    # gradcam/softmax shares the records of cam/softmax; both sigmoid rows are tested against these.
    raw = differences(boot, [(BASE, OURS), ("net/cam/softmax", "net/gradcam/sigmoid")])
    corrected = multipletests([d.p for d in raw], method="holm")[1]
    assert stats.tests == {"net": len(raw)}
    for one, p in zip(raw, corrected, strict=True):
        change = stats.changes[one.second][one.metric.name]
        assert change.p_holm == pytest.approx(p)
        assert stats.significant(one.second, one.metric.name) == bool(p < 0.05)
    hits = [boot.records[t].column("located") > 0 for t in (BASE, OURS)]
    only = int((hits[0] & ~hits[1]).sum()), int((~hits[0] & hits[1]).sum())
    assert stats.changes[OURS]["gt_known_loc"].p == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert stats.significant(OURS, "gt_known_loc")
    assert not stats.significant(OURS, "average_drop")
    assert stats.changes["net/gradcam/softmax"] == {}


def test_intervals_are_those_of_the_bootstrap(run, stats):
    boot = bootstrap_run(run, resamples=300, seed=1)
    for triple in run.triples:
        assert stats.intervals[triple] == {m: boot.interval(triple, m) for m in boot.points[triple]}


def test_ranks_tie_where_the_difference_is_not_significant(stats):
    ranks = {t: r["gt_known_loc"] for t, r in stats.ranks.items()}
    assert ranks[OURS] == 1
    assert ranks["net/cam/softmax"] == ranks["net/gradcam/softmax"] > 1
    assert ranks["net/random/softmax"] == 4
    assert {r["average_drop"] for r in stats.ranks.values()} == {1}
    assert "top1_cls" not in stats.ranks[OURS]
    assert "degenerate" not in stats.ranks[OURS]


def test_marks_in_the_tables_are_the_significant_changes(run, tmp_path):
    stats = standing(merge_runs([run]))
    write_leaderboard(run, tmp_path, options=FULL)
    text = (tmp_path / "scores.md").read_text(encoding="utf-8")
    cells = table(text, "## Net")[("CAM", "sigmoid")]
    columns = {"gt_known_loc": "GT-known Loc ↑", "average_drop": "Avg Drop ↓", "pxap": "PxAP ↑"}
    for metric, column in columns.items():
        assert bool(re.search(r"\([+-][0-9.]+\*\)", cells[column])) == stats.significant(OURS, metric)
    assert f"{stats.tests['net']} (net)" in text
    tables = (tmp_path / "intervals.md").read_text(encoding="utf-8")
    interval = stats.intervals[OURS]["pxap"]
    assert table(tables, "## Net: intervals")[("CAM", "sigmoid")]["PxAP ↑"] == interval.text(2)
    assert table(tables, "## Net: ranks")[("CAM", "sigmoid")]["GT-known Loc ↑"] == "**1**"
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = {f"{r['backbone']}/{r['cam']}/{r['head']}": r for r in csv.DictReader(file)}
    row, change = rows[OURS], stats.changes[OURS]["gt_known_loc"]
    assert (float(row["pxap_low"]), float(row["pxap_high"])) == (interval.low, interval.high)
    assert float(row["gt_known_loc_change_p_holm"]) == change.p_holm
    assert float(row["gt_known_loc_change_low"]) == change.interval.low
    assert int(row["gt_known_loc_rank"]) == 1
    assert rows[BASE]["gt_known_loc_change_p_holm"] == ""


def test_tables_without_statistics(run, tmp_path):
    paths = write_leaderboard(run, tmp_path, intervals=False)
    assert "intervals.md" not in {p.name for p in paths}
    text = (tmp_path / "leaderboard.md").read_text(encoding="utf-8")
    assert "Statistics" not in text
    assert "Holm" not in text
    assert "rank" not in (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[0]


def test_merged_runs_have_statistics_of_their_own_backbones(toy, run, tmp_path):
    other = skilled_run(toy, tmp_path / "other", "other")
    stats = standing(merge_runs([run, other]), resamples=100)
    assert set(stats.tests) == {"net", "other"}
    assert set(stats.intervals) == {*run.triples, *other.triples}
    assert stats.ranks["other/cam/sigmoid"]["gt_known_loc"] == 1


def test_a_threshold_from_val_needs_the_val_run(toy, tmp_path):
    protocol = PROTOCOLS.get("paper").model_copy(update={"loc_threshold": "val"})
    test = skilled_run(toy, tmp_path / "test", protocol=protocol)
    val = skilled_run(toy, tmp_path / "val", split="val", protocol=protocol)
    with pytest.raises(RecordError, match="val"):
        write_leaderboard(test, tmp_path / "tables")
    assert not (tmp_path / "tables").exists()
    write_leaderboard(test, tmp_path / "tables", vals=[val], resamples=50, options=FULL)
    text = (tmp_path / "tables" / "scores.md").read_text(encoding="utf-8")
    point = bootstrap_run(test, [BASE], val=val, resamples=2).points[BASE]["gt_known_loc"]
    assert table(text, "## Net")[("CAM", "softmax")]["GT-known Loc ↑"] == f"{point:.2f}"
    text = (tmp_path / "tables" / "transfer.md").read_text(encoding="utf-8")
    cells = table(text, "## Threshold transfer: GT-known Loc ↑", names=1)[(BASE,)]
    assert cells["val τ"].startswith(f"{point:.2f} (τ ")
    with (tmp_path / "tables" / "transfer.csv").open(newline="") as file:
        rows = {(r["entry"], r["metric"], r["choice"]): r for r in csv.DictReader(file)}
    assert float(rows[BASE, "gt_known_loc", "val"]["score"]) == point
    assert "Threshold transfer" in (tmp_path / "tables" / "leaderboard.tex").read_text(encoding="utf-8")
    with pytest.raises(MergeError, match="both are over toy test, and τ must be chosen on other images"):
        write_leaderboard(test, tmp_path / "tables", vals=[test])
    with pytest.raises(MergeError, match="another loc_threshold"):
        write_leaderboard(test, tmp_path / "tables", vals=[skilled_run(toy, tmp_path / "paper", split="val")])
    with pytest.raises(MergeError, match="2 val runs for 1 runs"):
        write_leaderboard(test, tmp_path / "tables", vals=[val, val])


def test_a_limited_run_is_refused_beside_a_whole_one(toy, run, tmp_path):
    limited = skilled_run(toy, tmp_path / "limited", "other")
    limited.manifest.dataset.fingerprint += ":40"
    limited.manifest.dataset.rows = 40
    with pytest.raises(MergeError, match=r"cannot share a table: numbers of images \(--limit\) 160 and 40"):
        merge_runs([run, limited])
