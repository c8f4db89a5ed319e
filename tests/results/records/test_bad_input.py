"""Names are text in every output; a damaged part is named and left out of every output; another version is named."""

import csv
import io
import json
import shutil
import subprocess

import numpy as np
import pytest
from rich.console import Console

from cambench.results.figures.front import Point, pareto_figure
from cambench.results.records.load import load_run
from cambench.results.records.markers import mark_path
from cambench.results.records.parts import part_path
from cambench.results.records.record_errors import RecordError
from cambench.results.records.store import RunStore
from cambench.results.report.page import Source, report_data
from cambench.results.scores.merge import merge_runs
from cambench.results.scores.shown import score_run
from cambench.results.statistics.comparison import compare_triples
from cambench.results.tables.compare_table import compare_csv, compare_document, print_document
from cambench.results.tables.grid import to_markdown
from cambench.results.tables.latex import to_latex_document
from cambench.results.tables.leaderboard import write_leaderboard
from cambench.results.tables.terminal import closing_table

NASTY = [
    '=HYPERLINK("http://x")',
    "<script>alert(1)</script>",
    "\\input{/etc/passwd} $x_1^2$ 100% #&~",
    "line\nbreak\ttab \x1b[31mred\x1b[0m \x00 \u202eevil",
]
A, B = "net/cam/softmax", "net/cam/sigmoid"
LATEX = shutil.which("pdflatex")


def nasty_run(toy, out):
    manifest = toy.manifest()
    manifest.dataset.class_names = NASTY
    with RunStore.open(out, manifest) as store:
        for shard in range(3):
            span = manifest.rows_of(shard)
            ids = np.array([f"{NASTY[i % 4]}/{i}.jpg" for i in span], dtype=object)
            rows = {t: {**toy.rows(t, span), "image_id": ids} for t in toy.canonical(manifest)}
            store.write_shard("net", shard, rows)
        store.finish()
    return load_run(out)


def clean(text, *, lines=True):
    """No control or direction character (but line ends), no tag."""
    allowed = "\n" if lines else ""
    bad = {c for c in text if (ord(c) < 32 and c not in allowed) or c in "\x7f\u202e"}
    assert not bad
    assert "<script" not in text


def test_names_of_images_and_classes_are_text_in_a_comparison(toy, tmp_path):
    found = compare_triples(nasty_run(toy, tmp_path / "run"), A, B)
    document = compare_document(found)
    markdown = to_markdown(document)
    clean(markdown)
    assert "&lt;script&gt;" in markdown
    assert r"\x1b\[31mred" in markdown.replace("\\\\", "\\")
    widths = [len(line.replace("\\|", "").split("|")) for line in markdown.splitlines() if line.startswith("|")]
    assert len(set(widths)) <= 3, "a name added a column"
    with io.StringIO(compare_csv(found), newline="") as file:
        cells = [
            c for row in csv.reader(file) for c in row if not c.replace(".", "").lstrip("-").replace("e", "").isdigit()
        ]
    assert not [c for c in cells if c[:1] in "=@\t\r|" and c]
    assert any(c.startswith("'=HYPERLINK") for c in cells)
    shown = io.StringIO()
    print_document(document, Console(file=shown, width=200))
    assert "\x1b" not in shown.getvalue()
    assert "\u202e" not in shown.getvalue()


@pytest.mark.skipif(LATEX is None, reason="pdflatex is not installed")
def test_a_comparison_of_nasty_names_compiles(toy, tmp_path):
    document = compare_document(compare_triples(nasty_run(toy, tmp_path / "run"), A, B))
    (tmp_path / "c.tex").write_text(to_latex_document([document]))
    command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", "c.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-1500:]
    assert "passwd" not in (tmp_path / "c.log").read_text(errors="replace").split("(./c.aux)")[0]


def test_a_figure_takes_names_as_text(toy, tmp_path):
    manifest = toy.manifest()
    manifest.cams["cam"] = manifest.cams["cam"].model_copy(update={"title": NASTY[2]})
    manifest.backbones["net"].title = NASTY[3]
    merged = merge_runs([load_run(toy.fill(tmp_path / "run", manifest))])
    metric = next(m for m in merged.metrics if m.name == "pxap")
    figure = pareto_figure(merged, metric, {"net": [Point(A, 1.0, 50.0)]}, "cost")
    figure.savefig(tmp_path / "x.png")
    assert r"\x1b[31m" in figure.axes[0].get_title(loc="left")


@pytest.fixture
def damaged(toy, tmp_path):
    """A run whose part of images 4 to 7 of one triple is cut short, and the same run without these images."""
    out = toy.fill(tmp_path / "run", toy.manifest())
    path = part_path(out, B, 1)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return load_run(out), load_run(toy.fill(tmp_path / "without", toy.manifest(), failed=(4, 5, 6, 7))), path


def test_a_truncated_part_is_named_and_its_images_are_in_no_output(damaged, tmp_path):
    run, without, path = damaged
    name = f"{path.parent.name}/{path.name}"
    assert score_run(run).scores == score_run(without).scores
    write_leaderboard(run, tmp_path / "tables")
    for file in ("scores.md", "leaderboard.md", "scores.tex"):
        text = (tmp_path / "tables" / file).read_text(encoding="utf-8")
        assert name.replace("-", "{-}") in text if file.endswith("tex") else name in text
        assert "images 4 to 7 are left out of every triple until the same run is given again" in text
        assert "7 of 11" in text
    with (tmp_path / "tables" / "scores.csv").open(newline="") as file:
        assert {row["images"] for row in csv.DictReader(file)} == {"7"}
    document = compare_document(compare_triples(run, A, "net/random/softmax"))
    assert any(name in note for note in document.notes)
    assert dict(document.facts)["Images"].startswith("7 of 11")
    page = report_data([Source(run)], samples=20, thumb=64, resamples=20, seed=0)["sets"][0]
    assert any(name in note for note in page["notes"])
    assert [case["row"] for case in page["explorer"]["cases"]] == [0, 1, 2, 3, 8, 9, 10]
    shown = io.StringIO()
    closing_table(run, Console(file=shown, width=300))
    assert name in shown.getvalue()


def test_records_of_another_version_are_refused_with_the_version(damaged):
    run, _, _ = damaged
    content = json.loads((run.out / "run.json").read_text())
    for change, message in (
        ({"schema_version": 99, "code_version": "7.8"}, r"schema version 99 \(cambench 7\.8\)"),
        ({"code_version": "7.8", "novelty": 1}, r"written by cambench 7\.8, not understood by .*novelty"),
    ):
        (run.out / "run.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(RecordError, match=message):
            write_leaderboard(run.out, run.out)


@pytest.mark.parametrize("content", [b"", b'{"schema_ver', b"[]", b"{}", b"\xff\xfe", None])
def test_a_damaged_manifest_says_what_to_do(damaged, content):
    """When it is read, and when the run is given again; nothing in the folder changes."""
    run, _, _ = damaged
    file = run.out / "run.json"
    file.unlink()
    file.mkdir() if content is None else file.write_bytes(content)
    told = (
        "run.json: cannot be read" if content is None else rf"put a copy back, or delete {run.out} and give the run's"
    )
    before = sorted(run.out.rglob("*"))
    for heads in ("", r" command again\. Trained heads stay usable: move .*heads away first \(--head-weights\)"):
        with pytest.raises(RecordError, match=told + (heads if content is not None else "")):
            load_run(run.out)
        with pytest.raises(RecordError, match=told):
            RunStore.open(run.out, run.manifest)
        assert sorted(run.out.rglob("*")) == before
        (run.out / "heads").mkdir(exist_ok=True)
        before = sorted(run.out.rglob("*"))


def test_a_file_or_nothing_is_no_run_folder(tmp_path):
    (tmp_path / "file.png").write_bytes(b"x")
    for name in ("file.png", "nowhere"):
        with pytest.raises(RecordError, match=f"{name} is not a run folder"):
            load_run(tmp_path / name)


@pytest.mark.parametrize(("old", "new"), [('"rows": 11', '"rows": 10'), ('"shard_size": 4', '"shard_size": 5')])
def test_a_manifest_that_counts_other_images_than_its_shards_is_damaged(toy, tmp_path, old, new):
    """It ended in a traceback: 11 images, the resamples 10."""
    out = toy.fill(tmp_path / "run", toy.manifest())
    text = (out / "run.json").read_text()
    assert old in text
    (out / "run.json").write_text(text.replace(old, new))
    with pytest.raises(RecordError, match=r"run\.json: damaged; its shard \d of net has images \d to \d+, that on"):
        load_run(out)


def test_a_folder_where_a_marker_or_a_part_belongs(toy, tmp_path):
    """Read, its shard is not done; written, the error says what stands in the way."""
    manifest = toy.manifest()
    out = toy.fill(tmp_path / "run", manifest)
    for path in (mark_path(out, "net", 1), part_path(out, A, 1)):
        path.unlink()
        path.mkdir()
        run = load_run(out)
        assert run.index.tolist() == [0, 1, 2, 3, 8, 9, 10]
        assert any(str(path) in problem for problem in run.problems)
        with RunStore.open(out, manifest) as store, pytest.raises(IsADirectoryError, match=r"a folder stands where .*"):
            toy.write(store, "net", 1)
        path.rmdir()
        with RunStore.open(out, manifest) as store:
            toy.write(store, "net", 1)
    assert len(load_run(out).index) == 11
