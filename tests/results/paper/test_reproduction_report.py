"""The reproduction report: cells against records, two protocols side by side, changes, LaTeX that compiles."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from cambench.protocol import PROTOCOLS
from cambench.results.paper.changes import ReproducedChange, change_grid
from cambench.results.paper.published import published_table
from cambench.results.paper.reproduction import ReproductionEntry, write_reproduction
from cambench.results.records.load import load_run
from cambench.results.records.record_errors import ResultsError
from cambench.results.statistics.intervals import Interval

BOTH = ("paper", "beyond-softmax-code")
HOSTILE = "100% & $x_1^2$ {~} \\input{x} <b> | * # ünï − σ"
LATEX = shutil.which("pdflatex")


@pytest.fixture
def entries(tmp_path, toy):
    """CUB under two protocols (over 11 and 9 images), one network of three measured."""
    found = []
    for protocol, rows in zip(BOTH, (11, 9), strict=True):
        out = toy.fill(tmp_path / protocol, toy.manifest(rows=rows, protocol=PROTOCOLS.get(protocol)))
        found.append(ReproductionEntry("cub", protocol, load_run(out), {"resnet50": "net"}))
    return found


def drop(entry, triple):
    records = entry.run.records(triple)
    return 100 * (np.maximum(records.y - records.o, 0) / records.y)


def test_every_cell_has_published_ours_difference_and_interval(entries, tmp_path):
    paths = write_reproduction("table1", entries, tmp_path / "out", resamples=200)
    assert [p.name for p in paths] == ["table1.md", "table1.tex", "table1.csv", "table1_changes.csv"]
    frame = pd.read_csv(tmp_path / "out/table1.csv")
    printed = published_table("table1")
    printed = printed[printed.dataset == "cub"]
    assert len(frame) == len(BOTH) * len(printed)
    for protocol, entry in zip(BOTH, entries, strict=True):
        here = frame[frame.protocol == protocol]
        assert here.published.tolist() == printed.value.tolist()
        row = here[(here.backbone == "resnet50") & (here.cam == "cam") & (here["head"] == "sigmoid")]
        row = row[row.metric == "average_drop"].iloc[0]
        assert row.ours == pytest.approx(drop(entry, "net/cam/sigmoid").mean())
        assert row.difference == pytest.approx(row.ours - 13.86)
        assert row.low < row.ours < row.high
        assert row.images == len(entry.run.index)
        assert here[here.backbone == "vgg16"].ours.isna().all()


def test_changes_are_paired_and_judged_by_their_interval(entries, tmp_path):
    write_reproduction("table1", entries, tmp_path / "out", resamples=400)
    frame = pd.read_csv(tmp_path / "out/table1_changes.csv")
    printed = published_table("table1")
    printed = printed[(printed.dataset == "cub") & (printed["head"] == "sigmoid")]
    first = frame[frame.protocol == "paper"]
    np.testing.assert_allclose(first.published_change, printed.printed_change, atol=0.011)
    row = first[(first.backbone == "resnet50") & (first.cam == "gradcam") & (first.metric == "average_drop")].iloc[0]
    # gradcam/softmax shares its records with cam/softmax.
    each = drop(entries[0], "net/gradcam/sigmoid") - drop(entries[0], "net/cam/softmax")
    assert row.our_change == pytest.approx(each.mean())
    rng = np.random.default_rng(3)
    ends = np.quantile(each.to_numpy()[rng.integers(0, len(each), (4000, len(each)))].mean(1), [0.025, 0.975])
    np.testing.assert_allclose([row.low, row.high], ends, atol=0.35 * (ends[1] - ends[0]))
    for _, change in frame.dropna(subset=["our_change"]).iterrows():
        holds_zero = round(change.low, 2) <= 0 <= round(change.high, 2)
        same = np.sign(change.our_change) == np.sign(change.published_change)
        assert change.verdict == ("undecided" if holds_zero else "same direction" if same else "opposite")
    found = frame[frame.protocol == "paper"].verdict.value_counts()
    counts = ", ".join(f"{found.get(v, 0)} {v}" for v in ("same direction", "opposite", "undecided"))
    text = (tmp_path / "out/table1.md").read_text(encoding="utf-8")
    assert f"Changes by the sigmoid branch, paper: {counts}, of {found.sum()}" in text


def change(ours, low, high, published=-27.31):
    return ReproducedChange("cub", "average_drop", "resnet50", "gradcam", published, "paper", ours, Interval(low, high))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1e-6, 4e-5, "undecided"),
        (0.004, 0.2, "undecided"),
        (0.006, 0.2, "opposite"),
        (-0.2, -0.006, "same direction"),
        (-1.0, 1.0, "undecided"),
    ],
)
def test_a_change_that_the_decimals_do_not_show_is_none(low, high, verdict):
    assert change(low, low, high).verdict == verdict


def test_no_zero_has_a_minus_sign():
    text = str(change_grid([change(-1e-6, -2e-5, 3e-5)], "title", "code"))
    assert "+0.00" in text
    assert "[0.00, 0.00]" in text


def test_protocols_stand_side_by_side_with_the_footnotes(entries, tmp_path):
    write_reproduction("table1", entries, tmp_path / "out", resamples=20, notes=["A note of ours."])
    text = (tmp_path / "out/table1.md").read_text(encoding="utf-8").replace("\\", "")
    head = next(line for line in text.splitlines() if "Published" in line and line.startswith("|"))
    for protocol in BOTH:
        for name in ("Ours", "Difference", "95 % interval"):
            assert f"{protocol}: {name}" in head
    rows = [line for line in text.splitlines() if line.startswith("| resnet50")]
    assert len(rows) == 2 * (10 + 5), "two metrics: ten cells, five changes"
    assert {len(line.split(" | ")) for line in rows} == {10, 9}
    for note in ("6,033/5,755", "+12.13", "released no checkpoints", "net for resnet50", "A note of ours."):
        assert note in text
    alone = write_reproduction("table1", entries[:1], tmp_path / "one", resamples=20)[0].read_text(encoding="utf-8")
    assert "paper: Ours" not in alone
    assert "| Ours" in re.sub(" +", " ", alone)


def test_other_tables_are_refused(entries, tmp_path):
    with pytest.raises(ResultsError, match="table3"):
        write_reproduction("table3", entries, tmp_path)


@pytest.mark.skipif(LATEX is None, reason="pdflatex is not installed")
def test_latex_compiles_with_hostile_names_alone_and_inside_a_document(entries, tmp_path):
    entries = [
        ReproductionEntry(e.dataset, HOSTILE, e.run, {"vgg16": HOSTILE, **e.networks}) for e in entries[:1]
    ] + entries
    write_reproduction("table1", entries, tmp_path, resamples=20, notes=[HOSTILE])
    inside = "\\documentclass{article}\\begin{document}\\input{table1}\\end{document}\n"
    (tmp_path / "inside.tex").write_text(inside)
    for name in ("table1", "inside"):
        command = [LATEX, "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
        assert done.returncode == 0, done.stdout[-1500:]
        if name == "table1":
            assert "Overfull" not in done.stdout, "the landscape page is wide enough"
