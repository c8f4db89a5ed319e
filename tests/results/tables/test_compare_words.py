"""The answer of a comparison in words, and what stands beside marks that would mislead."""

import re
from dataclasses import replace

import numpy as np
import pytest

from cambench.bench.notebook.pairs import pairs_of
from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.scores.comparable import CompareError
from cambench.results.statistics.bootstrap import Entry
from cambench.results.statistics.comparison import CompareChoices, compare, compare_triples
from cambench.results.statistics.intervals import Interval
from cambench.results.statistics.paired import holm
from cambench.results.tables.compare_table import compare_document
from cambench.results.tables.compare_words import answers, pair_names, unmarked_intervals
from cambench.results.tables.grid import to_markdown

A, B, GRAD, RANDOM = "net/cam/softmax", "net/cam/sigmoid", "net/gradcam/sigmoid", "net/random/softmax"
ROWS = 120


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    """B finds 90 of 120 boxes, A 60, Grad-CAM those of B; the control's maps cost no confidence at all."""
    out = tmp_path_factory.mktemp("words") / "run"
    manifest = toy.manifest(rows=ROWS, shard_size=ROWS)
    manifest.dataset.title = "toys"
    found = {A: 60, B: 90, GRAD: 90, RANDOM: 5}
    span = np.arange(ROWS)
    with RunStore.open(out, manifest) as store:
        rows = {}
        for triple, located in found.items():
            bits = np.where(span < located, 255, 0).astype(np.uint8)[:, None, None] + np.zeros((3, 32), np.uint8)
            y = np.full(ROWS, 0.8)
            o = y if triple == RANDOM else y - 0.1 - 0.01 * (span % 5)
            same = {"pixel_histogram": toy.rows(A, span)["pixel_histogram"], "evidence_precision": span / ROWS}
            rows[triple] = toy.rows(A, span, hits_single=bits, hits_multi=bits, y=y, o=o, **same)
        store.write_shard("net", 0, rows)
        store.finish()
    return load_run(out)


def test_the_answer_is_a_sentence(run):
    found = compare_triples(run, A, B)
    (text,) = answers(found)
    gain = next(d for d in found.differences if d.metric.name == "gt_known_loc")
    low, high = gain.interval.low, gain.interval.high
    assert gain.value == 25
    assert re.match(r"sigmoid is better than softmax on Top-1 Loc by \d+\.\d points \(.* to .*; 120 images\)", text)
    assert f"GT-known Loc by 25.0 points ({low:.1f} to {high:.1f})" in text
    assert "; no significant difference in PxAP ‡, Avg Drop ‡" in text
    (worse,) = answers(compare_triples(run, B, A))
    assert "softmax is worse than sigmoid on Top-1 Loc by" in worse
    assert f"GT-known Loc by 25.0 points ({low:.1f} to {high:.1f})" in worse


def test_a_control_that_does_as_well_is_said(run):
    found = compare_triples(run, A, B)
    (pair,) = found.pairs
    assert "average_drop" in pair.unbeaten
    assert "gt_known_loc" not in pair.unbeaten
    text = to_markdown(compare_document(found))
    assert "‡ Avg Drop does not discriminate on this data: Random † (0.00), a control" in text
    assert "| Avg Drop ↓ ‡" in text
    # Compared with the control itself, it is what the rows say.
    (pair,) = compare_triples(run, RANDOM, B).pairs
    assert "average_drop" in pair.unbeaten


def test_only_what_is_asked_for_is_tested(run):
    whole, asked = (
        compare([(Entry(A, run, A), Entry(B, run, B))], CompareChoices(metrics=m)) for m in ((), ("gt_known_loc",))
    )
    tested = {d.metric.name: d for d in asked.tested}
    assert set(tested) == {"gt_known_loc"}
    assert tested["gt_known_loc"].p_holm == tested["gt_known_loc"].p
    family = holm([d.p for d in whole.differences])
    assert [d.p_holm for d in whole.differences] == pytest.approx(list(family))
    assert len(asked.differences) == len(whole.differences)
    document = compare_document(asked, brief=True)
    assert not document.grids
    assert document.lead == [answers(asked)[0]]
    assert re.fullmatch(r"sigmoid is better than softmax on GT-known Loc by 25\.0 points \(.*\)\.", document.lead[0])
    text = to_markdown(compare_document(asked))
    assert "correction over 1 test(s) of what was asked (GT-known Loc); the other metrics are not tested" in text
    rows = compare_document(asked).grids[0].rows
    same = {d.metric.title for d in whole.differences if d.identical}
    assert {row[-1].text for row in rows if row[0].text.split(" ↑")[0].split(" ↓")[0] in same} == {"identical"}
    assert [row[-1].text for row in rows].count("not tested") == len(whole.differences) - 1 - len(same)
    assert asked.pairs[0].by.name == "gt_known_loc"
    with pytest.raises(CompareError, match="no metric nope in these records; they have"):
        compare([(Entry(A, run, A), Entry(B, run, B))], CompareChoices(metrics=["nope"]))


def test_columns_carry_the_names_of_the_two(run):
    found = compare_triples(run, A, GRAD)
    assert pair_names(found, found.pairs[0]) == ("CAM + softmax", "Grad-CAM + sigmoid")
    (grid, *_) = compare_document(found).grids
    assert grid.head[:4] == ("Metric", "CAM + softmax", "Grad-CAM + sigmoid", "difference")


def test_identical_is_said(run):
    found = compare_triples(run, B, GRAD)
    assert answers(found) == ["Grad-CAM and CAM are identical: no record differs in any metric (120 images)."]
    (grid, *_) = compare_document(found).grids
    assert {row[-1].text for row in grid.rows} == {"identical"}
    alias = compare_triples(run, A, "net/gradcam/softmax")
    (text,) = answers(alias)
    assert text.startswith("Identical: net/cam/softmax and net/gradcam/softmax share their records: Grad-CAM equals")


def test_effects_are_sized_only_where_they_are_significant(run):
    found = compare_triples(run, A, B)
    (grid, *_) = compare_document(found).grids
    for difference, row in zip(found.differences, grid.rows, strict=True):
        assert ("(" in row[-2].text) == bool(difference.verdict())


def test_an_interval_beside_a_mark_is_explained(run):
    (pair,) = compare_triples(run, A, B).pairs
    base = next(d for d in pair.differences if d.metric.name == "pxap")
    near = replace(base, b=base.a + 1, interval=Interval(0.1, 1.9), p=0.02, p_holm=0.2)
    notes = unmarked_intervals(replace(pair, differences=(near, base)), 10, 0.05)
    assert notes == [
        "PxAP: the interval excludes zero and the difference is yet not significant, as the interval is of this "
        "difference alone: its p = 0.02 is one of 10 tests, and 0.2 after Holm's correction for them."
    ]


def test_patterns_are_paired_by_what_they_share(toy, tmp_path):
    triples = [f"{n}/{c}/{h}" for n in ("net", "other") for c in ("cam", "gradcam") for h in ("softmax", "sigmoid")]
    backbones = {n: toy.backbone() for n in ("net", "other")}
    manifest = toy.manifest(triples=triples, aliases={}, identities={}, backbones=backbones)
    run = load_run(toy.fill(tmp_path / "run", manifest))

    def names(*patterns):
        return [(a.name, b.name) for a, b in pairs_of([run], list(patterns), [], False)]

    matched = [(f"{n}/cam/{h}", f"{n}/gradcam/{h}") for n in ("net", "other") for h in ("softmax", "sigmoid")]
    assert names("*/cam/*", "*/gradcam/*") == names("*/*/*") == matched
    heads = [(f"{n}/cam/softmax", f"{n}/cam/sigmoid") for n in ("net", "other")]
    assert names("*/cam/softmax", "*/cam/sigmoid") == names("*/cam/*") == heads
    assert names("net/cam/softmax", "*/gradcam/softmax") == [
        ("net/cam/softmax", "net/gradcam/softmax"), ("net/cam/softmax", "other/gradcam/softmax")
    ]  # fmt: skip
