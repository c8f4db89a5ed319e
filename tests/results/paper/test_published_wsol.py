"""The published scores of trained methods: whole, and equal to the printed differences and to the reference data."""

from pathlib import Path

import pandas as pd
import pytest

from cambench.results.paper import published_wsol

REFERENCE = Path(__file__).parents[4] / "shared" / "published" / "wsolevaluation_reference.csv"
PRINTED = {
    "has": (0.6, 0.3, -0.3, 0.0, -3.3, 1.7, -0.2, -5.1, -2.6),
    "acol": (-2.6, 0.3, -1.4, -6.3, -0.5, 3.5, -4.0, -6.0, -1.2),
    "spg": (-0.1, -0.1, -0.4, -7.4, -0.8, -2.6, 0.0, -0.9, -1.8),
    "adl": (-0.2, -2.0, 0.0, 2.6, 2.1, -4.6, 0.4, -6.4, -3.3),
    "cutmix": (-0.6, 0.5, -0.4, -1.4, 0.8, -0.2, -0.2, -0.7, -0.8),
}
"""Differences to CAM as Choe et al. print them, in the order of the columns."""


def test_every_cell_is_there():
    table = published_wsol()
    trained = table[~table["method"].isin(["few_shot", "center"])]
    assert len(trained) == 6 * 4 * 9
    assert table["value"].between(40, 90).all()
    assert not trained.duplicated(["method", "normalisation", "dataset", "network"]).any()


@pytest.mark.parametrize("method", PRINTED)
def test_differences_agree_with_the_printed_ones(method):
    table = published_wsol()
    ours = table[(table["method"] == method) & (table["normalisation"] == "minmax")]["change"]
    assert ours.tolist() == pytest.approx(PRINTED[method], abs=0.1)


@pytest.mark.skipif(not REFERENCE.is_file(), reason="needs the reference data")
def test_equal_to_the_reference():
    theirs = pd.read_csv(REFERENCE)
    names = {"vgg16": "vgg16_gap", "inception_v3": "inception_v3_gap", "resnet50": "resnet50"}
    theirs["network"] = theirs["architecture"].map(names)
    both = published_wsol().merge(theirs, on=["method", "normalisation", "dataset", "network", "metric"])
    assert len(both) == 216
    apart = both[both["value_x"] != both["value_y"]]
    assert apart[["method", "value_x", "value_y"]].values.tolist() == [["acol", 57.2, 57.02]]
