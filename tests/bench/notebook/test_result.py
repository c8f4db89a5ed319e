"""A run's result in a notebook: the same numbers as the files, in frames and displays."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cambench
from cambench.bench.host.errors import UsageError
from cambench.results.scores.comparable import CompareError
from cambench.results.scores.shown import score_run

RESNET = "slim_resnet"
A, B = f"{RESNET}/layercam/softmax", f"{RESNET}/gradcam++/softmax"


@pytest.fixture
def result(settings):
    return cambench.run(**settings)


def test_frames_hold_the_files_numbers(result, settings):
    loaded = cambench.load(result.out)
    assert loaded.triples == result.triples
    assert {p.name for p in loaded.paths} <= {p.name for p in result.paths}
    board = loaded.leaderboard()
    assert board.to_csv() == (Path(settings["out"]) / "tables" / "scores.csv").read_text()
    assert board.to_markdown() == (Path(settings["out"]) / "tables" / "scores.md").read_text()
    assert board.to_latex() == (Path(settings["out"]) / "tables" / "scores.tex").read_text()
    assert list(board.frame.index) == result.triples
    from_csv = pd.read_csv(settings["out"] / "tables" / "scores.csv")
    np.testing.assert_array_equal(board.frame["max_box_acc_v2"], from_csv["max_box_acc_v2"])
    assert board.frame.loc[A, "average_drop"] == score_run(result.run).scores[A]["average_drop"]
    plain = loaded.leaderboard(intervals=False)
    assert "max_box_acc_v2_low" in board.frame
    assert "max_box_acc_v2_low" not in plain.frame


def test_records_are_a_row_an_image_and_triple(result):
    records = result.records()
    assert len(records) == len(result.triples) * len(result.run.index)
    assert list(records["triple"].unique()) == result.triples
    one = result.records(A)
    assert (one["cam"] == "layercam").all()
    drop = 100 * ((one["y"] - one["o"]).clip(lower=0) / one["y"]).mean()
    assert drop == pytest.approx(result.leaderboard(intervals=False).frame.loc[A, "average_drop"])
    assert one["correct"].tolist() == (one["label"] == one["predicted"]).tolist()
    assert "extra:pointing_game" in one
    with pytest.raises(KeyError, match="no records of slim_resnet/nothing/softmax"):
        result.records("slim_resnet/nothing/softmax")


def test_comparison_of_two_triples(result):
    found = result.compare(A, B, resamples=200, by="average_drop")
    frame = found.frame.set_index("metric")
    scores = score_run(result.run).scores
    # Two sums of the same images, in another order: equal up to float64 rounding, which differs between processors.
    expected = scores[B]["average_drop"] - scores[A]["average_drop"]
    assert frame.loc["average_drop", "difference"] == pytest.approx(expected, rel=0, abs=1e-11)
    assert frame.loc["average_drop", "difference_low"] <= frame.loc["average_drop", "difference"]
    assert (frame["p_holm"] >= frame["p"]).all()
    assert pd.api.types.is_float_dtype(frame["p"])
    assert set(found.images["name"]) <= set(result.run.image_ids)
    assert found.classes["images"].sum() == len(result.run.index)
    assert (found.classes["better"] + found.classes["worse"] <= found.classes["images"]).all()
    assert found.worse("average_drop") in ([], [B])
    with pytest.raises(CompareError, match="no metric nothing"):
        found.worse("nothing")
    words = cambench.compare(result.out, A, B, resamples=200, by="average_drop")
    assert words.to_csv() == found.to_csv() == cambench.compare(result, A, B, resamples=200, by="average_drop").to_csv()


def test_runs_are_compared_by_the_triples_they_share(result, settings):
    other = cambench.run(**settings | {"out": settings["out"].with_name("other"), "triples": (A,)})
    found = cambench.compare(result, other, resamples=100)
    assert len(found.comparison.pairs) == 1
    assert (found.frame["difference"] == 0).all(), "the same triple on the same images"
    with pytest.raises(UsageError, match="neither a run folder nor a triple"):
        cambench.compare(result, "nothing")
    with pytest.raises(UsageError, match="no run folder"):
        cambench.compare(A, B)


def test_displays_are_text_whatever_the_names_hold(result):
    names = result.run.manifest.dataset.class_names
    names[:] = ["<script>alert(1)</script>"] * len(names)
    html = result.compare(A, B, resamples=50)._repr_html_() + result._repr_html_()
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "<table " in html
    assert "10 images" in repr(result)
    assert "| Metric" in repr(result.compare(A, B, resamples=50))
    for shown, table, fact in (
        (html, "<table ", "fingerprint"),
        (repr(result.leaderboard(resamples=20)), "| Method", "- Data"),
    ):
        assert 0 <= shown.index(table) < shown.index(fact), "a result begins with its table"
