import csv
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cambench.bench.cli.app import app
from cambench.protocol import PROTOCOLS
from cambench.results.records.load import load_run
from cambench.results.records.record_errors import RecordError
from cambench.results.records.store import RunStore
from cambench.results.records.timings import BackboneTiming, StageTiming, Timings, TripleTiming
from cambench.results.scores.merge import MergeError, merge_runs
from cambench.results.scores.shown import score_run
from cambench.results.tables.escape import csv_text, latex, markdown
from cambench.results.tables.grid import Cell, Document, Grid, to_csv
from cambench.results.tables.latex import to_latex, to_latex_document
from cambench.results.tables.leaderboard import write_leaderboard
from cambench.results.tables.selection import TableOptions
from cambench.results.tables.terminal import closing_table

FULL = TableOptions(layout="full")
HOSTILE = (
    "=cmd|' /C calc'!A0 <script>alert(1)</script> 100% & $x_1^2$ {~} \\input{x} `a` "
    '"q" | * # \n \x1b[31m ünï 中 \u202e'
)

TIMINGS = Timings(
    backbones={
        "net": BackboneTiming(
            device="cpu",
            batch_size=32,
            images=11,
            images_per_s=123.4,
            forward_ms=5.5,
            map_forwards=1.07,
            map_pairs=5,
            distinct_maps=4,
            peak_memory_mib=512.3,
            stages={"forward": StageTiming.of([5.0, 6.0, 7.0, 8.0]), "boxes": StageTiming.of([0.5])},
        )
    },
    triples={"net/cam/softmax": TripleTiming(ms_per_image=8.0, images_per_s=125.0, forwards=1.45)},
)


def table_rows(text):
    """Cells of the Markdown table rows."""
    return [[c.strip() for c in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| ")]


def read(paths):
    return {p.name: p.read_bytes() for p in paths}


def test_rows_follow_the_papers_layout(tmp_path, toy):
    out = toy.fill(tmp_path / "run", toy.manifest(), failed=(5,))
    write_leaderboard(out, out, options=FULL)
    text = (out / "scores.md").read_text(encoding="utf-8")
    scores = score_run(load_run(out)).scores
    rows = table_rows(text)
    assert [r[:2] for r in rows] == [
        ["Method", "Head"],
        ["CAM", "softmax"],
        ["CAM", "sigmoid"],
        ["Grad-CAM", "softmax (a)"],
        ["Grad-CAM", "sigmoid"],
        ["Random †", "softmax"],
    ]
    # The toy's numbers are noise: no method is significantly better than the control.
    column = [h.strip() for h in rows[0]].index("Avg Drop ↓ ‡")
    assert "‡ Avg Drop: 10 images are too few to tell the methods from a control: Random † (" in text
    base, ours = (scores[f"net/cam/{h}"]["average_drop"] for h in ("softmax", "sigmoid"))
    assert re.sub(r"[*_\\]", "", rows[2][column]) == f"{ours:.2f} ({ours - base:+.2f})"
    assert rows[1][column] == rows[3][column]
    # A control cannot be the best, nor the second.
    values = [float(r[column].replace("*", "").replace("_", "").split()[0]) for r in rows[1:]]
    assert not re.search(r"[_*]", rows[-1][column])
    bold = [i for i, r in enumerate(rows[1:]) if r[column].startswith("**")]
    assert bold == [i for i, v in enumerate(values) if v == min(values[:-1])]
    second = [i for i, r in enumerate(rows[1:]) if r[column].startswith("_")]
    assert [values[i] for i in second] == [sorted(set(values[:-1]))[1]] * len(second)
    assert rows[2][2] == rows[1][2] == f"{scores['net/cam/softmax']['top1_cls']:.2f}"
    assert "Grad-CAM equals CAM on a GAP + linear head" in text
    assert "img/005.jpg (row 5): truncated JPEG" in text
    assert "10 of 11" in text
    assert load_run(out).manifest.protocol.digest in text
    assert "f" * 16 in text


def test_csv_has_exact_scores_and_changes(tmp_path, toy):
    out = toy.fill(tmp_path / "run", toy.manifest())
    write_leaderboard([out], tmp_path / "tables")
    scores = score_run(load_run(out)).scores
    with (tmp_path / "tables" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [f"{r['backbone']}/{r['cam']}/{r['head']}" for r in rows] == list(scores)
    for row in rows:
        own = scores[f"{row['backbone']}/{row['cam']}/{row['head']}"]
        assert float(row["pxap"]) == own["pxap"]
    assert float(rows[1]["pxap_change"]) == scores["net/cam/sigmoid"]["pxap"] - scores["net/cam/softmax"]["pxap"]
    assert rows[0]["pxap_change"] == ""
    assert rows[2]["same_records_as"] == "net/cam/softmax"
    assert rows[4]["control"] == "1"


def test_regenerated_byte_for_byte(tmp_path, toy):
    manifest = toy.manifest()
    whole = toy.fill(tmp_path / "whole", manifest, failed=(2,))
    first = read(write_leaderboard(whole, tmp_path / "a"))
    assert read(write_leaderboard(whole, tmp_path / "b")) == first
    cut = tmp_path / "cut"
    with RunStore.open(cut, manifest) as store:
        toy.write(store, "net", 1)
    later = manifest.model_copy(update={"started": "2031-01-01T00:00:00+00:00", "settings": {"workers": 3}})
    toy.fill(cut, later, failed=(2,))
    resumed = read(write_leaderboard(cut, tmp_path / "c"))
    for name in ("scores.md", "scores.csv", "scores.tex", "intervals.md", "intervals.tex"):
        assert resumed[name] == first[name]


def test_runs_are_merged_and_mixtures_refused(tmp_path, toy):
    first = toy.fill(tmp_path / "first", toy.manifest(), failed=(3,))
    second = toy.fill(tmp_path / "second", toy.manifest("other", rows=11))
    write_leaderboard([first, second], tmp_path / "tables")
    text = (tmp_path / "tables" / "scores.md").read_text(encoding="utf-8")
    assert "(net)" in text
    assert "(other)" in text
    assert "10 of 11" in text
    wsol = toy.fill(tmp_path / "wsol", toy.manifest("other", protocol=PROTOCOLS.get("wsoleval")))
    with pytest.raises(MergeError, match=r"protocols paper and wsoleval differ in .*target"):
        write_leaderboard([first, wsol], tmp_path / "no")
    data = toy.manifest("other")
    data.dataset.fingerprint = "0" * 16
    with pytest.raises(MergeError, match="data fingerprints"):
        write_leaderboard([first, toy.fill(tmp_path / "data", data)], tmp_path / "no")
    weights = toy.fill(tmp_path / "weights", toy.manifest(backbones={"net": toy.backbone(weights="w1")}))
    with pytest.raises(MergeError, match=r"net/cam/softmax is in .*weights of net: the first has 'w0', the second"):
        write_leaderboard([first, weights], tmp_path / "no")
    with pytest.raises(MergeError, match="no run"):
        write_leaderboard([], tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_triple_served_by_another_equal_method_is_the_same_triple(tmp_path, toy):
    """Run for itself where the first run has it as an alias: the same weights and code, so the same scores."""
    first = toy.fill(tmp_path / "first", toy.manifest())
    second = toy.fill(tmp_path / "second", toy.manifest(triples=["net/gradcam/softmax"], aliases={}, identities={}))
    merged = merge_runs([load_run(first), load_run(second)])
    assert merged.triples == merge_runs([load_run(first)]).triples
    assert merged.run("net/gradcam/softmax").out == first


def test_what_a_glob_finds_beside_runs_is_left_out_and_said(tmp_path, toy):
    toy.fill(tmp_path / "runs" / "one", toy.manifest())
    (tmp_path / "runs" / "a-note.txt").touch()
    (tmp_path / "runs" / "tables").mkdir()
    found = [str(p) for p in sorted((tmp_path / "runs").iterdir())]
    answer = CliRunner().invoke(app, ["leaderboard", *found, "--no-intervals"], env={"COLUMNS": "300"})
    assert answer.exit_code == 0
    assert "left out: " in answer.output
    assert "a-note.txt is no run folder" in answer.output
    assert "tables is no run folder" in answer.output
    assert (tmp_path / "runs" / "one" / "tables" / "leaderboard.md").is_file()
    for alone in (found[0], str(tmp_path / "missing")):
        assert isinstance(CliRunner().invoke(app, ["leaderboard", alone]).exception, RecordError)
    broken = tmp_path / "runs" / "broken"
    (broken / "records").mkdir(parents=True)
    assert isinstance(CliRunner().invoke(app, ["leaderboard", *found, str(broken)]).exception, RecordError)


def hostile_run(tmp_path, toy):
    manifest = toy.manifest()
    manifest.dataset.title = HOSTILE
    manifest.cams["cam"].title = HOSTILE
    manifest.backbones["net"].title = HOSTILE
    manifest.heads["sigmoid"].title = "[*] " + HOSTILE
    manifest.skipped = {"net/a_b/softmax": HOSTILE}
    with RunStore.open(tmp_path / "run", manifest) as store:
        for shard in range(3):
            toy.write(store, "net", shard, failed=(5,))
        store.finish(timings=TIMINGS)
    return tmp_path / "run"


def test_hostile_text_stays_text(tmp_path, toy):
    out = hostile_run(tmp_path, toy)
    write_leaderboard(out, out)
    text = (out / "leaderboard.md").read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    widths = {
        len(re.findall(r"(?<!\\)\|", line)) for line in (out / "scores.md").read_text().splitlines() if line[:1] == "|"
    }
    assert len(widths) == 1
    tex = (out / "leaderboard.tex").read_text(encoding="utf-8")
    assert r"\input{x}" not in tex
    for name in ("scores.csv", "throughput.csv"):
        with (out / name).open(newline="") as file:
            cells = [c for row in csv.reader(file) for c in row]
        assert not [c for c in cells if c[:1] in "=@\t" and c]
    console = Console(file=(out / "term.txt").open("w", encoding="utf-8"), width=200)
    closing_table(load_run(out), console)
    console.file.close()
    shown = (out / "term.txt").read_text(encoding="utf-8")
    assert "\x1b" not in shown
    assert "truncated JPEG" in shown


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_csv_formulas_are_quoted(start):
    assert csv_text(start).startswith("'")


def test_escapes():
    assert markdown("a|b_c*<i>") == r"a\|b\_c\*&lt;i&gt;"
    assert latex("50% a_b {x} \\y") == r"50\% a\_b \{x\} \textbackslash{}y"
    assert latex("é中") == r"\'{e}{[}U+4E2D]"


LATEX = shutil.which("pdflatex")
PLAIN = "\\documentclass{article}\n%s\\begin{document}\nBefore.\n\\input{%s}\nAfter.\n\\end{document}\n"
PACKAGES = "\\usepackage[utf8]{inputenc}\\usepackage{booktabs}\\usepackage{xcolor}\n"


def test_latex_tables_longer_than_a_page_are_cut_between_groups():
    def group(i):
        return [(Cell(f"m{i}", span=4 if not k else 0), Cell(f"{i}.{k}")) for k in range(4)]

    rows = [row for i in range(30) for row in group(i)]
    grid = Grid("Net", ("name", "a"), rows, code="net", rules=frozenset(range(0, 120, 4)))
    text = to_latex(Document("d", [grid]))
    parts = text.split("\\begin{table}")[1:]
    assert [len(re.findall(r"^m\d+ &", part, re.M)) for part in parts] == [11, 11, 8]
    assert [part.count("(continued)") for part in parts] == [0, 1, 1]
    found = re.findall(r"^.* & (\d+\.\d) \\\\$", text, re.M)
    assert found == [f"{i}.{k}" for i in range(30) for k in range(4)]
    plain = to_latex(Document("d", [Grid("t", ("name", "a"), [(Cell("x"), Cell("1"))] * 50)]))
    assert plain.count("\\begin{table}") == 2
    assert plain.count("x & 1") == 50


def test_latex_heads_are_stacked_and_keep_their_direction_with_the_last_word():
    head = ("Method", "Energy pointing game ↑", "GT-known Loc ↑", "PxAP ↑", "50% of_x more words")
    text = to_latex(Document("d", [Grid("t", head, [(Cell("x"), *[Cell("1")] * 4)])]))
    assert r"\shortstack[c]{Energy\\pointing\\game $\uparrow$}" in text
    assert r"\shortstack[c]{GT{-}known\\Loc $\uparrow$}" in text
    assert r"\multicolumn{1}{c}{PxAP $\uparrow$}" in text
    assert r"\shortstack[c]{50\% of\_x\\more words}" in text


def test_latex_numbers_have_a_minus_sign():
    grid = Grid("t", ("name", "a"), [(Cell("cam-2"), Cell("1.50 [-0.62, 11.00]"))])
    text = to_latex(Document("d", [grid]))
    assert r"cam{-}2 & 1.50 {[}$-$0.62, 11.00]" in text


def test_latex_numbers_are_aligned_at_their_points_whatever_marks_them():
    cells = [Cell("7.50", bold=True), Cell("12.25", second=True), Cell("3.00", delta="-1.00*", tone="bad"), Cell("–")]
    text = to_latex(Document("d", [Grid("t", ("name", "a"), [(Cell("x"), c) for c in cells])]))
    assert r"S[table-format=2.2]@{\hspace{2.0pt}}l" in text
    rows = re.findall(r"^x & (.*?) & (.*) \\\\$", text, re.M)
    assert rows == [
        (r"{\phantom{0}\textbf{7.50}}", ""),
        (r"{\underline{12.25}}", ""),
        ("3.00", r"\textcolor{red}{($-$1.00{*})}"),
        ("{--}", ""),
    ]


def test_latex_tables_that_do_not_fit_are_cut_into_several():
    row = (Cell("a method"), *[Cell("12.25", delta="+1.00")] * 12)
    grid = Grid("t", ("name", *(f"metric {i}" for i in range(12))), [row])
    for width, environment, least in (("column", "table", 4), ("text", "table*", 2), ("auto", "table*", 2)):
        text = to_latex(Document("d", [grid]), width)
        assert text.count(f"\\begin{{{environment}}}") == text.count("a method &") >= least
        assert text.count("12.25") == 12
        assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == text.count("\\label")
    narrow = to_latex(Document("d", [Grid("t", ("name", "a"), [(Cell("x"), Cell("1"))])]))
    assert "\\begin{table}" in narrow
    assert r"\footnotesize" in narrow


@pytest.mark.skipif(LATEX is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("hostile", [False, True])
def test_latex_compiles(tmp_path, toy, hostile):
    out = hostile_run(tmp_path, toy) if hostile else toy.fill(tmp_path / "run", toy.manifest())
    write_leaderboard(out, out)
    sources = {"leaderboard": None, "own": PLAIN % (PACKAGES, "leaderboard"), "bare": PLAIN % ("", "scores")}
    for name, source in sources.items():
        if source:
            (out / f"{name}.tex").write_text(source)
        command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=out, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, f"{name}: {done.stdout[-1500:]}"


@pytest.mark.skipif(LATEX is None, reason="pdflatex is not installed")
def test_long_latex_tables_stay_on_their_pages(tmp_path):
    rows = [(Cell("x"), Cell("12.50 [-0.62, 11.00]"))] * 150
    grid = Grid("t", ("name", "a metric of some words ↑"), rows)
    (tmp_path / "long.tex").write_text(to_latex_document([Document("d", [grid])]))
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "long.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-1500:]
    assert "Overfull" not in done.stdout


def test_latex_is_balanced(tmp_path, toy):
    out = hostile_run(tmp_path, toy)
    write_leaderboard(out, out)
    tex = (out / "scores.tex").read_text(encoding="utf-8")
    bare = re.sub(r"\\[{}]", "", tex.replace(r"\\", ""))
    assert bare.count("{") == bare.count("}")
    assert tex.isascii()
    assert len(re.findall(r"\\begin\{table\*?\}", tex)) == tex.count(r"\endtabular") >= 1
    for table in tex.split("\\toprule\n")[1:]:
        rows = [line for line in table.partition(r"\bottomrule")[0].splitlines() if line.endswith(r"\\")][1:]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


def test_throughput_tables(tmp_path, toy):
    with RunStore.open(tmp_path / "run", toy.manifest()) as store:
        for shard in range(3):
            toy.write(store, "net", shard)
        store.finish(timings=TIMINGS)
    benchmarks = tmp_path / "benchmarks.json"
    stats = {"median": 0.00125, "iqr": 0.0001, "rounds": 20}
    benchmarks.write_text(json.dumps({"benchmarks": [{"name": "test_boxes[224]", "stats": stats}]}))
    write_leaderboard(tmp_path / "run", tmp_path, benchmarks=benchmarks)
    text = (tmp_path / "throughput.md").read_text(encoding="utf-8")
    rows = table_rows(text)
    passes = dict(zip([c.strip() for c in rows[0]], [c.strip() for c in rows[1]], strict=True))
    assert passes["images/s"] == "123"
    assert passes["all maps (forwards)"] == "1.07"
    assert passes["peak memory (MiB)"] == "512 (host)"
    assert "6.50 (1.50)" in text
    assert "0.500 (0.000)" in text
    # The aliased triple costs what its canonical one costs.
    assert sum("125" in r[1] for r in rows if len(r) == 4) == 2
    assert any("1.25" in r[1] for r in rows if r[0].startswith("test"))
    assert "123" not in (tmp_path / "scores.md").read_text(encoding="utf-8")
    with (tmp_path / "throughput.csv").open(newline="") as file:
        kinds = [r["kind"] for r in csv.DictReader(file)]
    assert kinds == ["pass", "maps", "stage", "stage", "triple"]
    benchmarks.write_text("{}")
    with pytest.raises(RecordError, match=r"benchmarks\.json"):
        write_leaderboard(tmp_path / "run", tmp_path, benchmarks=benchmarks)


def test_without_a_base_head_rows_name_their_method(tmp_path, toy):
    manifest = toy.manifest(triples=["net/cam/sigmoid"], aliases={}, identities={})
    out = toy.fill(tmp_path / "run", manifest)
    write_leaderboard(out, out)
    assert table_rows((out / "scores.md").read_text())[1][:2] == ["CAM", "sigmoid"]


def test_no_common_image_is_an_error(tmp_path, toy):
    manifest = toy.manifest(rows=4)
    out = toy.fill(tmp_path / "run", manifest, failed=(0, 1, 2, 3))
    with pytest.raises(RecordError, match="no image"):
        write_leaderboard(out, out)
    assert not (out / "scores.md").exists()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_terminal_cuts_no_number(tmp_path, toy, width):
    run = load_run(toy.fill(tmp_path / "run", toy.manifest()))
    console = Console(file=io.StringIO(), width=width)
    closing_table(run, console)
    shown = console.file.getvalue()
    assert f"{score_run(run).scores[run.triples[0]]['top1_cls']:.2f}" in shown
    assert "…" not in shown


def test_csv_numbers_are_numbers_whoever_computed_them():
    row = (0.1, np.float64(0.1), np.int64(3), np.float64(1e-17), 3, None, "=1")
    assert to_csv(["a"] * 7, [row]) == "a,a,a,a,a,a,a\n0.1,0.1,3,1e-17,3,,'=1\n"
