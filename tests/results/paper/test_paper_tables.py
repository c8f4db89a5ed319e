import re
from pathlib import Path

import pytest

from cambench.results.paper.published import published_table
from cambench.results.records.record_errors import ResultsError

PAPER = Path(__file__).parents[3].parent / "shared" / "paper"
KEYS = ["backbone", "cam", "dataset", "metric"]


@pytest.mark.parametrize(("name", "changes"), [("table1", 40), ("table2", 24)])
def test_printed_changes_are_the_differences(name, changes):
    table = published_table(name)
    pairs = table[table["head"] == "sigmoid"].merge(table[table["head"] == "softmax"], on=KEYS, suffixes=("", "_base"))
    assert len(pairs) == changes
    off = (pairs["value"] - pairs["value_base"] - pairs["printed_change"]).abs()
    assert off.max() < 0.0051


def test_shapes():
    one, two = published_table("table1"), published_table("table2")
    assert len(one) == 2 * 5 * 2 * 4
    assert len(two) == 3 * 2 * (6 + 4)
    for table in (one, two):
        assert not table.duplicated([*KEYS, "head"]).any()
        assert table["value"].between(0, 100).all()


def test_sums_by_hand():
    one, two = published_table("table1"), published_table("table2")
    cub = one[(one["backbone"] == "resnet50") & (one["dataset"] == "cub") & (one["metric"] == "average_drop")]
    base, ours = (cub[cub["head"] == h]["value"].sum() for h in ("softmax", "sigmoid"))
    assert base == pytest.approx(44.17 + 46.38 + 43.15 + 46.38 + 43.69)
    assert ours == pytest.approx(13.86 + 19.07 + 18.88 + 19.07 + 19.07)
    pxap = two[(two["metric"] == "pxap") & (two["head"] == "sigmoid")]["value"]
    assert sorted(pxap) == [48.16, 56.53, 60.11, 60.24, 60.49, 63.65]


@pytest.mark.skipif(not PAPER.is_dir(), reason="the paper's text is not beside this repository")
def test_every_number_is_in_the_papers_text():
    text = next(PAPER.glob("*.txt")).read_text(encoding="utf-8")
    printed = set(re.findall(r"\d+\.\d\d", text))
    for name in ("table1", "table2"):
        table = published_table(name)
        assert {f"{v:.2f}" for v in table["value"]} <= printed
        assert {f"{abs(v):.2f}" for v in table["printed_change"].dropna()} <= printed


def test_unknown_table():
    with pytest.raises(ResultsError, match="table1, table2"):
        published_table("table3")
