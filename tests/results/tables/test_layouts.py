"""Layouts and options of the score tables: what is shown, what is folded, what the paper's tables look like."""

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from cambench.registry import UnknownNameError
from cambench.results.records.load import load_run
from cambench.results.records.record_errors import ResultsError
from cambench.results.records.store import RunStore
from cambench.results.scores.merge import merge_runs
from cambench.results.statistics.standing import standing
from cambench.results.tables.leaderboard import write_leaderboard
from cambench.results.tables.notes import unbeaten_notes
from cambench.results.tables.score_table import score_document
from cambench.results.tables.selection import TableOptions
from cambench.results.tables.terminal import closing_table, score_table

ROWS = 60


@pytest.fixture
def run(toy, tmp_path):
    """A run in which the control has the lowest drop and the worst boxes."""
    manifest = toy.manifest(rows=ROWS, shard_size=ROWS)
    with RunStore.open(tmp_path / "run", manifest) as store:
        found = {}
        for triple in toy.canonical(manifest):
            control = "/random/" in triple
            span = np.arange(ROWS)
            hits = np.where(span < (2 if control else 50), 255, 0).astype(np.uint8)[:, None, None]
            y = np.full(ROWS, 0.8)
            o = y if control else y - np.where(span % 2, 0.3, 0.2) - 0.01 * ("sigmoid" in triple)
            found[triple] = toy.rows(triple, span, hits_single=hits + np.zeros((3, 32), np.uint8), y=y, o=o)
        store.write_shard("net", 0, found)
        store.finish()
    return load_run(tmp_path / "run")


def table(run, stats=None, **options):
    """Head, and rows of the cells' texts, of the only table."""
    (grid,) = score_document(merge_runs([run]), stats, options=TableOptions(**options)).grids
    return grid.head, [[cell.text for cell in row] for row in grid.rows]


def test_the_terminal_has_the_marks_and_sentences_of_the_files(run):
    merged = merge_runs([run])
    stats = standing(merged)
    console = Console(file=io.StringIO(), width=120)
    closing_table(run, console)
    shown = console.file.getvalue()
    document = score_document(merged, stats)
    (grid,) = document.grids
    known = ("Top-1 Cls", "GT-known Loc", "MaxBoxAccV2", "PxAP", "Avg Drop", "Inc Conf", "sparsity")
    assert all(short in shown for short in ("Top-1", "GT Loc", "MBAv2", "sparsity")), "one's own metric has a column"
    gone = [head for head in grid.head[2:] if not head.startswith(known)]
    unseen = tuple(f"‡ {head[: head.index(' ↑')]}" for head in gone)
    marked = [n for n in document.notes if n[0] in "†‡(" and not n.startswith(unseen)]
    assert {note[0] for note in marked} == set("†‡(")
    assert all(note in shown for note in marked)
    titles = [line for line in shown.splitlines() if line.strip().split("  ")[0] == "Net"]
    assert [line.count("‡") for line in titles] == [sum("‡" in head and head not in gone for head in grid.head)]
    assert "‡" in titles[0]
    # While the run goes on: the same rows and marks; what they mean is said once, at the end.
    going = Console(file=io.StringIO(), width=120)
    score_table(merge_runs([load_run(run.out, "net")]), stats, going, explained=False)
    rows = [line.replace(" (a)", "    ") for line in shown.splitlines() if line.startswith("   ")]
    assert rows
    assert {" ".join(row.split()) for row in rows} <= {" ".join(r.split()) for r in going.file.getvalue().splitlines()}
    assert not any(note in going.file.getvalue() for note in marked)


def test_networks_of_which_the_same_is_to_be_said_share_a_sentence(run):
    merged = merge_runs([run])
    stats = standing(merged, resamples=200)
    one = stats.unbeaten["net"]["average_drop"]
    (alone,) = unbeaten_notes(merged, stats, ["net"], ["average_drop"])
    assert alone == f"‡ {one.sentence('Random †', 'CAM')}"
    other = replace(one, best_score=12.5)
    both = replace(stats, unbeaten={"net": {"average_drop": one}, "other": {"average_drop": other}})
    (note,) = unbeaten_notes(merged, both, ["net", "other"], ["average_drop"])
    assert f"Net: 0.00 beside CAM, {one.best_score:.2f}; other: 0.00 beside CAM, 12.50; 60" in note
    assert note.startswith("‡ Avg Drop does not discriminate on this data: Random †, a control, is not")
    # Another reason is another sentence, with the network's name.
    few = replace(one, control_score=50.0, best_score=40.0, images=5)
    apart = replace(stats, unbeaten={"net": {"average_drop": one}, "other": {"average_drop": few}})
    notes = unbeaten_notes(merged, apart, ["net", "other"], ["average_drop"])
    assert [n.partition(": ")[0] for n in notes] == ["‡ Net", "‡ other"]
    assert "5 images are too few to tell the methods from a control: Random † (50.00) is not" in notes[1]


def test_compact_has_the_fields_metrics_and_folds_rows_of_the_same_records(run):
    head, rows = table(run)
    assert head == (
        *("Method", "Head", "Top-1 Cls ↑", "Top-1 Loc ↑", "GT-known Loc ↑", "MaxBoxAccV2 ↑", "PxAP ↑"),
        *("Avg Drop ↓", "Inc Conf ↑", "Evidence Prec ↑", "sparsity ↑"),
    )
    assert [row[:2] for row in rows] == [
        *(["CAM", "softmax (a)"], ["CAM", "sigmoid"], ["Grad-CAM", "sigmoid"], ["Random †", "softmax"])
    ]
    document = score_document(merge_runs([run]))
    assert "(a) computed once: also Grad-CAM (Grad-CAM equals CAM on a GAP + linear head)." in document.notes
    full, rows = table(run, layout="full")
    assert {"MaxBoxAcc ↑", "Avg Gain ↑", "Degenerate ↓", "Cost"} <= set(full)
    assert len(rows) == 5


def test_a_control_that_wins_is_no_best_and_marks_its_metric(run):
    merged = merge_runs([run])
    stats = standing(merged, resamples=200)
    assert set(stats.unbeaten["net"]) >= {"average_drop"}
    assert "gt_known_loc" not in stats.unbeaten["net"]
    found = stats.unbeaten["net"]["average_drop"]
    assert (found.control, found.best) == ("net/random/softmax", "net/cam/softmax")
    assert found.control_score == 0 < found.best_score
    document = score_document(merged, stats)
    (grid,) = document.grids
    column = grid.head.index("Avg Drop ↓ ‡")
    assert "GT-known Loc ↑" in grid.head
    cells = [row[column] for row in grid.rows]
    assert [cell.bold for cell in cells] == [True, False, False, False]
    assert cells[-1].text == "0.00"
    assert not cells[-1].second
    assert grid.heavy == frozenset({3})
    (note,) = (n for n in document.notes if n.startswith("‡ Avg Drop"))
    assert "does not discriminate on this data: Random † (0.00), a control, is not significantly worse" in note


def test_columns_rows_decimals_and_order(run):
    head, rows = table(run, columns=("pxap", "*_loc"), heads=("s*",), methods=("*cam",), decimals=1, layout="full")
    assert head == ("Method", "Head", "PxAP ↑", "Top-1 Loc ↑", "GT-known Loc ↑")
    assert all(re.fullmatch(r"\d+\.\d", text) for row in rows for text in row[2:])
    assert len(rows) == 4
    scores = merge_runs([run]).scores
    head, rows = table(run, sort="pxap")
    values = [float(row[head.index("PxAP ↑")]) for row in rows]
    assert values[:-1] == sorted(values[:-1], reverse=True)
    assert rows[-1][0] == "Random †"
    assert values[0] == round(max(s["pxap"] for t, s in scores.items() if "random" not in t), 2)
    for options in ({"columns": ("pxapp",)}, {"methods": ("grad",)}, {"heads": ("sigmod",)}, {"sort": "degenerate"}):
        with pytest.raises(UnknownNameError, match="unknown"):
            table(run, **options)
    with pytest.raises(UnknownNameError, match="did you mean 'paper2'"):
        TableOptions(layout="paper")
    with pytest.raises(ResultsError, match="exclude each other"):
        TableOptions(long=True, transpose=True)


def test_transposed_and_long_tables_hold_the_same_numbers(run):
    head, rows = table(run)
    turned, columns = table(run, transpose=True)
    assert turned == ("Metric", *(row[1] for row in rows))
    by_metric = {row[0]: row[1:] for row in columns}
    _, long = table(run, long=True)
    found = {(row[0], row[1], row[2]): row[3] for row in long}
    for i, metric in enumerate(head[2:], 2):
        if metric == "Top-1 Cls ↑":
            continue
        assert by_metric[metric] == [row[i] for row in rows]
        assert [found[row[0], row[1], metric] for row in rows] == [row[i] for row in rows]


def test_a_long_csv_has_a_row_for_each_triple_and_metric(run, tmp_path):
    write_leaderboard(run, tmp_path, resamples=50, options=TableOptions(long=True))
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    scores = merge_runs([run]).scores
    found = {(f"{r['backbone']}/{r['cam']}/{r['head']}", r["metric"]): float(r["score"]) for r in rows}
    assert found == {(t, m): v for t, own in scores.items() for m, v in own.items()}
    assert {r["unbeaten_control"] for r in rows if r["metric"] == "average_drop"} == {"net/random/softmax"}


def test_tables_go_into_a_folder_of_their_own(run):
    paths = write_leaderboard(run, intervals=False)
    assert {p.parent for p in paths} == {run.out / "tables"}
    assert not list(run.out.glob("*.md"))


def test_the_papers_layouts_set_data_sets_side_by_side(toy, run, tmp_path):
    manifest = toy.manifest(rows=11)
    manifest.dataset.name, manifest.dataset.fingerprint = "other", "0" * 16
    other = load_run(toy.fill(tmp_path / "other", manifest))
    write_leaderboard([run, other], tmp_path, options=TableOptions(layout="paper1", standalone=True))
    with (tmp_path / "paper1.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == [
        "Backbone",
        "Method",
        *(f"{d}: {m}" for d in ("toy", "other") for m in ("Avg Drop ↓", "Inc Conf ↑")),
    ]
    assert [row[1] for row in rows[1:]] == ["CAM", "Ours", "Grad-CAM", "Ours"]
    for column, found in ((2, run), (4, other)):
        scores = merge_runs([found]).scores
        base, ours = (scores[f"net/cam/{head}"]["average_drop"] for head in ("softmax", "sigmoid"))
        assert rows[1][column] == f"{base:.2f}"
        assert rows[2][column] == f"{ours:.2f} ({ours - base:+.2f})"
    tex = (tmp_path / "paper1.tex").read_text()
    assert tex.startswith("% Compiles as it is")
    assert r"\cmidrule(lr)" in tex
    drop = merge_runs([run]).scores
    colour = "red" if drop["net/cam/sigmoid"]["average_drop"] > drop["net/cam/softmax"]["average_drop"] else "blue"
    assert rf"\textcolor{{{colour}}}" in tex
    write_leaderboard([run, other], tmp_path, options=TableOptions(layout="paper2"))
    with (tmp_path / "paper2.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert [row[1] for row in rows[1:]] == ["CAM", "Ours", "Δ", "Grad-CAM", "Ours", "Δ"]
    assert rows[2][2] == "–"
    alone = toy.manifest(triples=["net/random/softmax"], aliases={}, identities={})
    controls = load_run(toy.fill(tmp_path / "controls", alone))
    with pytest.raises(ResultsError, match="have none of cam, gradcam"):
        write_leaderboard(controls, options=TableOptions(layout="paper2"))
