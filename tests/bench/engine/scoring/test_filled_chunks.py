"""Masked images of several maps in one forward: the same scores, whole chunks, an option that is recorded."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from cambench.bench.engine.scoring.located import in_groups, maps_at_once
from cambench.bench.engine.scoring.reading import ScoreMap
from cambench.bench.notebook.runs import run
from cambench.protocol import MapRule
from cambench.triple import Triple

TRIPLES = ("slim_resnet/{cam,gradcam,gradcam++,layercam,center}/{softmax,sigmoid}",)
BOUND = 1e-5
"""Largest change of a class score by the size of the forward that it comes from."""


def test_chunks_are_filled_and_the_scores_stay(settings: dict[str, Any], forwards: list[int]) -> None:
    settings |= {"triples": TRIPLES, "limit": 4, "chunk_mib": 8}
    plain = run(**settings).run
    one_by_one = forwards.copy()
    assert set(one_by_one) == {4}
    forwards.clear()
    out = settings["out"].with_name("filled")
    filled = run(**{**settings, "fill_chunks": True, "out": out}).run
    # Four images of 224×224 in float32 take 2.3 MiB: three maps a chunk.
    maps = len(one_by_one) - 1
    assert forwards == [4, *[12] * (maps // 3), *([4 * (maps % 3)] if maps % 3 else [])]
    assert maps > 3
    assert json.loads((out / "run.json").read_text())["options"]["fill_chunks"] is True
    assert "fill_chunks" not in json.loads((settings["out"] / "run.json").read_text())["options"]
    for triple in {str(plain.manifest.canonical(t)) for t in plain.manifest.triples}:
        for column in ("hits_multi", "map", "y"):
            np.testing.assert_array_equal(filled.column(triple, column), plain.column(triple, column))
        np.testing.assert_allclose(filled.column(triple, "o"), plain.column(triple, "o"), rtol=0, atol=BOUND)


def score_map(cells: int, rule: MapRule, finished: bool = False) -> ScoreMap:
    low = torch.rand(2, cells, cells, generator=torch.Generator().manual_seed(cells))
    return ScoreMap(low, low, rule, 32, finished)


def test_only_maps_that_one_call_can_locate_are_together() -> None:
    plain, other = MapRule(), MapRule(kernel="bilinear")
    drawn = [
        score_map(7, plain), score_map(7, plain), score_map(7, plain), score_map(8, plain), score_map(7, other),
        score_map(7, other, True), score_map(7, other, True),
    ]  # fmt: skip
    names = [(Triple("n", str(k), "softmax"), one) for k, one in enumerate(drawn)]
    assert [len(group) for group in in_groups(names, 2)] == [2, 1, 1, 1, 2]
    assert [one for group in in_groups(names, 9) for one in group] == names
    assert list(in_groups([], 3)) == []


def test_a_cpu_takes_a_map_at_a_time() -> None:
    class There:
        device, chunk_bytes = torch.device("cpu"), 32 << 20
        protocol = type("P", (), {"size": 224})

    assert maps_at_once(There(), 4) == 1
    There.device = torch.device("cuda")
    assert maps_at_once(There(), 32) == (256 << 20) // (32 * 224 * 224 * 8)
    assert maps_at_once(There(), 4096) == 1
