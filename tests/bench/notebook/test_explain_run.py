"""``RunResult.explain`` draws the maps that the run scored: its protocol, channels, precision and heads."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cambench.bench.notebook.runs import run

TRIPLE = "slim_resnet/scorecam/softmax"


@pytest.mark.parametrize("more", [{"channels": 3}, {"channels": 3, "dtype": "bfloat16", "channels_last": True}])
def test_a_run_of_few_channels_explains_the_maps_that_it_stored(settings: dict[str, Any], more: dict[str, Any]) -> None:
    result = run(**{**settings, "triples": (TRIPLE,), "limit": 4, "keep_maps": True, **more})
    stored = torch.from_numpy(result.run.column(TRIPLE, "map").copy())
    ids = [str(name) for name in result.run.image_ids]
    files = [settings["root"] / name for name in ids]
    drawn = result.explain(TRIPLE, files, device="cpu")
    assert drawn.protocol.score_channels == 3
    assert drawn.degenerate.tolist() == result.run.column(TRIPLE, "degenerate").tolist()
    assert torch.equal(drawn.low_res, stored)
    whole = result.explain(TRIPLE, files, device="cpu").low_res
    assert torch.equal(whole, stored), "drawing changes nothing"
