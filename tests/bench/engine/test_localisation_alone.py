"""``--no-fidelity``: one forward a batch, the same boxes and pixels, no Average Drop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cambench.bench.notebook.runs import run
from cambench.bench.stored.rescore import RescoreRequest, rescore
from cambench.results.records.record_errors import RunMismatchError
from cambench.results.scores.merge import merge_runs

FIDELITY = {"average_drop", "increase_in_confidence", "average_gain"}


@pytest.fixture
def localised(settings: dict[str, Any]) -> dict[str, Any]:
    triples = ("slim_resnet/{cam,gradcam++,layercam,center}/{softmax,sigmoid}",)
    return settings | {"triples": triples, "fidelity": False, "out": settings["out"].with_name("localised")}


def test_all_other_scores_are_the_same(settings: Any, localised: Any, forwards: list[int]) -> None:
    whole = run(**{**localised, "fidelity": True, "out": settings["out"]}).run
    forwards.clear()
    alone = run(**localised).run
    assert sum(forwards) == len(alone.index)
    wanted, found = (merge_runs([one]).scores for one in (whole, alone))
    assert found.keys() == wanted.keys()
    for triple, scores in found.items():
        assert wanted[triple].keys() - scores.keys() == FIDELITY
        assert scores.items() <= wanted[triple].items()
        assert not {"y", "o"} & set(alone.columns(triple))
        for column in ("hits_multi", "map", "predicted"):
            np.testing.assert_array_equal(alone.column(str(triple), column), whole.column(str(triple), column))
    assert "Avg Drop" not in (localised["out"] / "tables" / "scores.md").read_text()


def test_a_metric_that_scores_images_may_be_asked_for(localised: Any) -> None:
    found = run(**{**localised, "triples": ("slim_resnet/gradcam/softmax",), "limit": 2, "metrics": ("insertion",)})
    assert "insertion" in next(iter(merge_runs([found.run]).scores.values()))


def test_the_folder_says_why_it_cannot_be_completed(localised: Any) -> None:
    run(**localised)
    with pytest.raises(RunMismatchError, match="option fidelity: this run has True, the folder has False"):
        run(**{**localised, "fidelity": True})


def test_stored_maps_are_scored_again(localised: Any) -> None:
    found = run(**{**localised, "protocol": "wsoleval"})
    request = RescoreRequest(run=localised["out"], protocol="ivr", out=localised["out"].with_name("again"))
    again = rescore(request).records
    assert "o" not in again.columns(next(iter(found.run.manifest.triples)))
