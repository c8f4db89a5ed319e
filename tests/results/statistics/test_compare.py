"""Comparisons of triples and runs: what is said, what is refused, what is written."""

import csv
import io

import numpy as np
import pytest
from rich.console import Console

from cambench.bench.notebook.tables import PairedComparison
from cambench.protocol import PROTOCOLS
from cambench.results.records.load import load_run
from cambench.results.records.record_errors import RecordError
from cambench.results.records.store import RunStore
from cambench.results.scores.comparable import CompareError, same_images
from cambench.results.scores.shown import score_run
from cambench.results.statistics.bootstrap import Entry, bootstrap_run
from cambench.results.statistics.comparison import CompareChoices, compare, compare_triples
from cambench.results.statistics.image_scores import image_scores
from cambench.results.statistics.transfer import threshold_transfer
from cambench.results.tables.compare_table import compare_csv, compare_document, print_document
from cambench.results.tables.grid import Cell, Document, Grid, to_markdown
from cambench.results.tables.transfer_table import transfer_grids

A, B = "net/cam/softmax", "net/cam/sigmoid"
ROWS = 80


def filled(toy, out, change=None, split=None, **fields):
    """A run whose columns ``change(triple, indices)`` replaces."""
    manifest = toy.manifest(**{"rows": ROWS, "shard_size": 32, **fields})
    manifest.dataset.split = split or manifest.dataset.split
    with RunStore.open(out, manifest) as store:
        for shard in range(store.manifest.shards):
            span = list(manifest.rows_of(shard))
            changed = {t: change(t, span) if change else {} for t in toy.canonical(manifest)}
            store.write_shard("net", shard, {t: toy.rows(t, span, **new) for t, new in changed.items()})
        store.finish()
    return load_run(out)


def prefix_hits(widths):
    """Hits (n,3,32) below level ``widths``, the same for every IoU threshold."""
    hits = np.arange(256)[None] < np.asarray(widths)[:, None]
    return np.repeat(np.packbits(hits, axis=-1)[:, None], 3, axis=1)


def lopsided(triple, span):
    """``B`` locates every image at τ = 0.2 but those of class 3; ``A`` locates only class 0."""
    label = np.array(span) % 4
    good = (label == 0) if triple == A else (label != 3)
    hits = prefix_hits(np.where(good, 200, 20))
    return {"hits_single": hits, "hits_multi": hits, "predicted": label}


@pytest.fixture(scope="module")
def run(toy, tmp_path_factory):
    return filled(toy, tmp_path_factory.mktemp("compare") / "run", lopsided)


def test_scores_of_the_images_average_to_the_score(run):
    boot, table = bootstrap_run(run, resamples=2), score_run(run)
    for triple in run.triples:
        for metric in boot.metrics:
            values = image_scores(boot, triple, metric)
            assert len(values) == ROWS
            if metric.name != "pxap":
                assert np.nanmean(values) == pytest.approx(table.scores[triple][metric.name])


def test_image_scores_under_an_oracle_threshold(toy, tmp_path):
    run = filled(toy, tmp_path / "run", protocol=PROTOCOLS.get("wsoleval"))
    boot = bootstrap_run(run, [A], resamples=2)
    for metric in boot.metrics:
        if metric.name in ("gt_known_loc", "top1_loc"):
            assert np.nanmean(image_scores(boot, A, metric)) == pytest.approx(boot.points[A][metric.name])


def test_comparison_of_two_triples(run):
    found = compare_triples(run, A, B, by="gt_known_loc")
    (report,) = found.pairs
    loc = next(d for d in report.differences if d.metric.name == "gt_known_loc")
    assert (loc.a, loc.b, loc.value) == (25, 75, 50)
    assert loc.discordant == (0, 40)
    assert loc.verdict() == "better"
    assert not report.losses
    assert {row.label for row in report.gains} <= {"class 1", "class 2"}
    assert all((row.a, row.b) == (0, 100) for row in report.gains)
    classes = {row.label: row for row in report.classes}
    assert (classes["class 1"].a, classes["class 1"].b, classes["class 1"].better) == (0, 100, 20)
    assert (classes["class 0"].better, classes["class 0"].worse, classes["class 0"].images) == (0, 0, 20)
    assert [abs(r.b - r.a) for r in report.classes] == [100, 100, 0, 0]
    assert found.worse(["gt_known_loc", "top1_loc"]) == []


def test_the_worse_one_is_found_in_either_direction_of_a_metric(run):
    worse = compare_triples(run, B, A).worse(["gt_known_loc"])
    assert [(d.first, d.second) for d in worse] == [(B, A)]
    assert worse[0].p_holm == worse[0].p
    with pytest.raises(CompareError, match=r"no metric nonsense in these records; they"):
        compare_triples(run, A, B).worse(["nonsense"])
    with pytest.raises(CompareError, match=r"no metric gt_knwn in these records \(did you mean gt_known_loc\?\)"):
        compare_triples(run, A, B).worse(["gt_knwn"])
    with pytest.raises(CompareError, match="no metric degenerate"):
        compare_triples(run, A, B).worse(["degenerate"])


def test_lists_are_of_the_first_metric_that_differs(toy, tmp_path):
    same = prefix_hits([100] * 32)
    run = filled(toy, tmp_path / "run", lambda t, span: {"hits_multi": same[: len(span)]})
    (report,) = compare_triples(run, A, B).pairs
    assert report.by.name == "pxap"
    with pytest.raises(CompareError, match="do not both have the metric 'nope'"):
        compare_triples(run, A, B, by="nope")


def test_text_of_a_comparison(run):
    found = compare_triples(run, A, B, by="gt_known_loc")
    text = to_markdown(compare_document(found))
    assert "+50.00" in text
    assert "▲ better" in text
    assert "McNemar 0 : 40" in text
    assert "80 of 80, the same for every entry" in text
    again = to_markdown(compare_document(compare_triples(run, A, B, by="gt_known_loc")))
    assert text == again


def test_csv_has_metrics_images_and_classes(run):
    found = compare_triples(run, A, B, by="gt_known_loc")
    rows = list(csv.DictReader(io.StringIO(compare_csv(found))))
    assert all(None not in row and None not in row.values() for row in rows)
    kinds = {kind: [r for r in rows if r["kind"] == kind] for kind in ("metric", "image", "class")}
    assert len(kinds["class"]) == 4
    assert len(kinds["image"]) == 5
    loc = next(r for r in kinds["metric"] if r["metric"] == "gt_known_loc")
    assert float(loc["difference"]) == 50
    assert float(loc["difference_low"]) < 50 < float(loc["difference_high"])
    assert (loc["better"], loc["worse"], loc["verdict"], loc["unit"]) == ("40", "0", "better", "percent")
    assert kinds["class"][0]["better"] == "20"


def test_names_of_others_stay_text(toy, tmp_path):
    evil = '=HYPERLINK("x")|<script>\x1b[31m'
    names = [evil, "a", "b", "c"]

    def change(triple, span):
        ids = np.array([f"{evil}{i}" for i in span], dtype=object)
        return {**lopsided(triple, span), "image_id": ids, "label": np.array([i % 4 for i in span])}

    data = toy.manifest().dataset.model_copy(update={"class_names": names, "rows": ROWS})
    run = filled(toy, tmp_path / "run", change, dataset=data)
    found = compare_triples(run, B, A, by="gt_known_loc")
    text = to_markdown(compare_document(found))
    assert "<script>" not in text
    assert "\x1b" not in text + compare_csv(found)
    cells = [cell for row in csv.reader(io.StringIO(compare_csv(found))) for cell in row]
    assert not any(cell.startswith("=") for cell in cells)


def test_the_same_records_are_said_to_be_the_same(run, toy, tmp_path):
    found = compare_triples(run, A, A)
    assert found.differences == []
    assert "is compared with itself: every difference is zero" in " ".join(found.notes)
    alias = compare_triples(run, A, "net/gradcam/softmax")
    assert "share their records: Grad-CAM equals CAM" in " ".join(alias.notes)
    assert to_markdown(compare_document(alias))
    twin = filled(toy, tmp_path / "twin", lopsided)
    twins = compare([(Entry("here", run, A), Entry("there", twin, A))])
    assert "no record differs" in " ".join(twins.notes)
    assert all(d.identical for d in twins.differences)


def test_runs_that_differ_are_refused_by_what_differs(run, toy, tmp_path):
    def refusal(other, match):
        with pytest.raises(CompareError, match=match):
            compare([(Entry("a", run, A), Entry("b", other, A))], CompareChoices(intersect=True))

    other = PROTOCOLS.get("paper").model_copy(update={"loc_tau": 0.3, "gt_boxes": "first"})
    refusal(filled(toy, tmp_path / "p", protocol=other), "(?s)loc_tau: 0.2 and 0.3.*gt_boxes: 'any' and 'first'")
    data = toy.manifest().dataset.model_copy(update={"rows": ROWS, "fingerprint": "e" * 16, "split": "val"})
    refusal(filled(toy, tmp_path / "d", dataset=data), "(?s)split: test and val.*data fingerprint: ffff")


def test_image_sets_are_refused_or_intersected(run, toy, tmp_path):
    data = toy.manifest().dataset.model_copy(update={"rows": 50, "fingerprint": "f" * 16 + ":50"})
    short = filled(toy, tmp_path / "short", lopsided, dataset=data, rows=50)
    pair = (Entry("all", run, A), Entry("first 50", short, B))
    with pytest.raises(CompareError, match="(?s)50 common images with --intersect.*30 image.s. only in .*img/050.jpg"):
        compare([pair])
    found = compare([pair], CompareChoices(intersect=True))
    assert found.boot.plan.images == 50
    assert "over the 50 common images only" in " ".join(found.notes)
    value = next(d.a for d in found.differences if d.metric.name == "gt_known_loc")
    assert value == pytest.approx(100 * 13 / 50)


def test_other_versions_and_options_are_stated(run, toy, tmp_path):
    other = filled(toy, tmp_path / "other", lopsided, code_version="0.0.9", options={"dtype": "bfloat16"})
    found = compare([(Entry("a", run, A), Entry("b", other, A))])
    assert "code version: 0.1.0" in " ".join(found.notes)
    assert "option dtype: float32" in " ".join(found.notes)
    assert "bfloat16" in to_markdown(compare_document(found))


def test_rows_under_other_ids_are_refused(run, toy, tmp_path):
    def renamed(triple, span):
        return {"image_id": np.array([f"other/{i}.jpg" for i in span], dtype=object)}

    other = filled(toy, tmp_path / "other", renamed)
    with pytest.raises(CompareError, match="row 0 is 'img/000.jpg' in"):
        same_images([run, other])


def test_a_damaged_part_is_named_and_left_out(toy, tmp_path):
    out = tmp_path / "run"
    filled(toy, out, lopsided)
    part = next((out / "records" / "net" / "cam" / "softmax").glob("*00001.parquet"))
    part.write_bytes(part.read_bytes()[:-40])
    found = compare_triples(load_run(out), A, B)
    assert found.boot.plan.images == ROWS - 32
    assert "part-00001.parquet" in to_markdown(compare_document(found))


def test_holm_runs_over_all_pairs(run):
    entries = {t: Entry(t, run, t) for t in run.triples}
    found = compare([(entries[A], entries[t]) for t in (B, "net/gradcam/sigmoid")])
    assert len(found.differences) == 18
    assert f"over {len(found.differences)} test(s)" in to_markdown(compare_document(found))
    one = {d.metric.name: d for d in compare_triples(run, A, B).differences}
    two = {d.metric.name: d for d in found.pairs[0].differences}
    assert two["average_drop"].p == one["average_drop"].p
    assert two["gt_known_loc"].p_holm == pytest.approx(2 * one["gt_known_loc"].p_holm, rel=0.2)


@pytest.mark.parametrize("protocol", ["paper", "wsoleval", "beyond-softmax-code"])
def test_threshold_transfer_by_hand(toy, tmp_path, protocol):
    """Hits end at level 120 on val and at 40 or 200 on test; on test they begin nowhere else."""
    fields = {"protocol": PROTOCOLS.get(protocol)}

    def hits(span, test):
        levels = np.arange(256)[None]
        low, high = (60, 200) if test else (100, 150)
        middle = (levels >= low) & (levels < high)
        # Every third test image is located at low thresholds only.
        bits = np.where((span % 3 == 0)[:, None], levels < 40, middle) if test else middle.repeat(len(span), 0)
        return np.repeat(np.packbits(bits, axis=-1)[:, None], 3, axis=1)

    def change(test):
        return lambda t, span: (
            {n: hits(np.array(span), test) for n in ("hits_single", "hits_single_first")}
            | {"predicted": np.array(span) % 4}
        )

    test = filled(toy, tmp_path / "test", change(True), **fields)
    val = filled(toy, tmp_path / "val", change(False), split="val", **fields)
    transfers = {t.metric.name: t for t in threshold_transfer([Entry(A, test, A, val)], resamples=300)}
    loc = transfers["gt_known_loc"]
    thirds = np.ceil(ROWS / 3)
    # τ = 0.2 is level 51: between the two plateaus, nothing is located.
    assert (loc.fixed.tau, loc.fixed.score) == (0.2, 0)
    assert int(loc.val.tau * 255) == 100
    assert loc.val.score == loc.oracle.score == pytest.approx(100 * (ROWS - thirds) / ROWS)
    assert int(loc.oracle.tau * 255) == 60
    assert loc.val.gap == 0
    assert loc.fixed.gap == loc.oracle.score
    assert loc.fixed.gap_interval.low < loc.fixed.gap < loc.fixed.gap_interval.high
    assert loc.oracle.score == pytest.approx(score_run(test, val, [A]).scores[A]["max_box_acc"])
    grids = {grid.title: grid for grid in transfer_grids(list(transfers.values()))}
    assert list(grids) == ["Threshold transfer: Top-1 Loc ↑", "Threshold transfer: GT-known Loc ↑"]
    assert [cell.text for cell in grids["Threshold transfer: GT-known Loc ↑"].rows[0]][:2] == [A, "0.00 (τ 0.200)"]


def test_transfer_without_val_or_boxes(run, toy, tmp_path):
    (_, loc) = threshold_transfer([Entry(A, run, A)], resamples=20)
    assert loc.val is None
    assert transfer_grids([loc])[0].rows[0][2].text == "–"
    other = filled(toy, tmp_path / "other", split="val", protocol=PROTOCOLS.get("wsoleval"))
    with pytest.raises(RecordError, match="its protocol has another target"):
        threshold_transfer([Entry(A, run, A, other)], resamples=20)


def test_a_val_run_that_does_not_fit_is_refused(run, toy, tmp_path):
    def entries(val):
        return [(Entry(A, run, A, val), Entry(B, run, B, val))]

    with pytest.raises(RecordError, match=r"both are over toy test, and τ must be chosen on other images"):
        compare(entries(run))
    with pytest.raises(RecordError, match=rf"it has no records of {A}"):
        compare(entries(filled(toy, tmp_path / "few", split="val", triples=[B], aliases={})))
    weights = {"net": toy.backbone(weights="w1")}
    with pytest.raises(RecordError, match="it has other weights of net"):
        compare(entries(filled(toy, tmp_path / "other", split="val", backbones=weights)))


def test_a_val_run_may_serve_a_triple_by_an_equal_method(toy, tmp_path):
    """``net/gradcam/softmax`` has the records of ``net/cam/softmax``, which the val run does not know."""
    protocol = PROTOCOLS.get("paper").model_copy(update={"loc_threshold": "val"})
    test = filled(toy, tmp_path / "test", lopsided, protocol=protocol)
    alias, second = "net/gradcam/softmax", "net/gradcam/sigmoid"
    whole = filled(toy, tmp_path / "val", split="val", protocol=protocol)
    few = filled(toy, tmp_path / "few", split="val", protocol=protocol, triples=[alias, second], aliases={})
    for val in (whole, few):
        found = compare(
            [(Entry(alias, test, alias, val), Entry(second, test, second, val))], CompareChoices(resamples=20)
        )
        taus = {(t.entry, t.metric.name): t for t in found.transfers}
        row = taus[alias, "gt_known_loc"]
        assert row.val.score == found.boot.points[alias]["gt_known_loc"]


def test_a_comparison_holds_the_threshold_transfer_where_val_is_given(run, toy, tmp_path):
    val = filled(toy, tmp_path / "val", lopsided, split="val")
    found = PairedComparison(compare([(Entry(A, run, A, val), Entry(B, run, B, val))], CompareChoices(resamples=50)))
    table = found.transfer.set_index(["entry", "metric", "choice"])
    assert len(table) == 2 * 2 * 3
    assert table.loc[(A, "gt_known_loc", "fixed"), "score"] == found.comparison.boot.points[A]["gt_known_loc"]
    oracle = table.loc[(B, "top1_loc", "oracle")]
    for choice in ("fixed", "val"):
        row = table.loc[(B, "top1_loc", choice)]
        assert row["gap"] == oracle["score"] - row["score"]
        assert row["gap_low"] <= row["gap"] <= row["gap_high"]
    assert found.to_markdown().count("Threshold transfer: ") == 3
    rows = [row for row in csv.DictReader(io.StringIO(found.to_csv())) if row["kind"] == "transfer"]
    assert [(r["first"], r["metric"], r["name"]) for r in rows] == [i for i in table.index if i[2] != "oracle"]
    assert [float(r["tau"]) for r in rows] == [t for i, t in table["tau"].items() if i[2] != "oracle"]
    plain = PairedComparison(compare([(Entry(A, run, A), Entry(B, run, B))], CompareChoices(resamples=50)))
    assert plain.transfer.empty
    assert "transfer" not in plain.to_markdown()


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_threshold_transfer_names_its_entries_on_any_terminal(run, toy, tmp_path, width):
    val = filled(toy, tmp_path / "val", lopsided, split="val")
    found = compare([(Entry(A, run, A, val), Entry(B, run, B, val))], CompareChoices(resamples=50))
    console = Console(file=io.StringIO(), width=width)
    print_document(compare_document(found), console)
    shown = console.file.getvalue().partition("Threshold transfer: Top-1")[2]
    assert "net/cam/soft" in shown
    assert "net/cam/sigm" in shown
    assert "(τ 0.200)" in shown


def test_a_narrow_terminal_leaves_detail_columns_out_and_cuts_no_number():
    row = (Cell("MaxBoxAccV2"), Cell("70.83 [65.28, 76.74]"), Cell("0.4573"), Cell("paired bootstrap"))
    grid = Grid("b against a", ("Metric", "first", "p", "test"), [row], details=("test", "p"))
    shown = {}
    for width in (20, 40, 80):
        console = Console(file=io.StringIO(), width=width)
        print_document(Document("Comparison", [grid]), console)
        shown[width] = console.file.getvalue()
        assert "[65.28, 76.74]" in shown[width]
    assert "Not shown in 40 columns: test" in shown[40]
    assert "0.4573" in shown[40], "only what does not fit is left out"
    assert "0.4573" in shown[80]
    assert "Not shown" not in shown[80]


def test_eighty_columns_break_no_word_of_a_name():
    names = ("MaxBoxAccV2 ↑", "GT-known Loc ↑", "Evidence Prec ↑")
    interval = "99.67 [97.67, 100.00]"
    rows = [
        (Cell(n), Cell(interval), Cell(interval), Cell("-30.67 [-30.39, -30.57]"), Cell("<0.0001"), Cell("▲ better"))
        for n in names
    ]
    head = ("Metric", "first", "second", "difference", "p (Holm)", "test", "")
    rows = [(*row[:5], Cell("paired bootstrap"), row[5]) for row in rows]
    console = Console(file=io.StringIO(), width=80)
    print_document(Document("Comparison", [Grid("b against a", head, rows, details=("test",))]), console)
    shown = console.file.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("MaxBoxAccV2", "GT-known", "Evidence", "[97.67, 100.00]", "[-30.39, -30.57]", "<0.0001"):
        assert shown.count(word) >= 1, word


def test_a_name_longer_than_the_terminal_is_folded_not_cut():
    name = "x" * 70
    console = Console(file=io.StringIO(), width=40)
    print_document(Document("Comparison", [Grid("t", ("Class", "a"), [(Cell(name), Cell("12.00"))])]), console)
    assert console.file.getvalue().count("x") == 70
