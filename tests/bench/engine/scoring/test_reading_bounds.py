"""Memory layout and half precision beside float32: how far scores and maps may move, as docs/devices.md states."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from cambench.bench.host.dtypes import computes
from cambench.bench.notebook.runs import run
from cambench.results.scores.merge import merge_runs

TRIPLES = ("{slim_resnet,slim_vgg_gap}/{cam,gradcam,gradcam++,layercam}/softmax",)
BOUNDS = {
    "channels_last": ({"channels_last": True}, 1e-5, 0.01),
    "compile": ({"compile": "kernels"}, 1e-5, 0.01),
    "float16": ({"dtype": "float16"}, 0.01, 0.5),
    "bfloat16": ({"dtype": "bfloat16"}, 0.05, 1.5),
}
ON_CUDA = BOUNDS | {"tf32": ({"dtype": "tf32"}, 0.01, 0.5), "graphs": ({"compile": "graphs"}, 1e-5, 0.01)}
"""Options; bound of a map's cells, as a part of its range; bound of scores that no threshold makes jump, in points."""
SMOOTH = ("pxap", "average_drop", "average_gain", "evidence_precision", "energy_pointing_game")


def measured(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[Any, dict[str, float]], dict[Any, Any]]:
    """Options in ``run.json``, scores, and low-resolution maps of a run."""
    found = run(**fields).run
    merged = merge_runs([found])
    maps = {triple: found.column(str(triple), "map") for triple in merged.scores}
    return json.loads((found.out / "run.json").read_text())["options"], merged.scores, maps


def given(option: str) -> Any:
    """The option as a parameter; real programs need a C++ compiler and minutes."""
    return pytest.param(option, marks=[pytest.mark.slow]) if option == "compile" else option


@pytest.mark.parametrize("option", [given(option) for option in BOUNDS])
def test_scores_and_maps_stay_within_the_stated_bounds_of_float32(option: str, settings: Any, tmp_path: Any) -> None:
    check(option, BOUNDS, {**settings, "triples": TRIPLES}, tmp_path)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("option", ON_CUDA)
def test_so_they_do_on_a_cuda_device(option: str, settings: Any, tmp_path: Any) -> None:
    if not computes(torch.device("cuda"), ON_CUDA[option][0].get("dtype", "float32")):
        pytest.skip(f"the device has no {option}")
    check(option, ON_CUDA, {**settings, "triples": TRIPLES, "device": "cuda"}, tmp_path)


def check(option: str, bounds: dict[str, Any], fields: dict[str, Any], tmp_path: Any) -> None:
    options, cells, points = bounds[option]
    _, scores, maps = measured({**fields, "out": tmp_path / "plain"})
    recorded, found, drawn = measured({**fields, **options, "out": tmp_path / option})
    assert {name: recorded[name] for name in options} == options
    for triple, plain in scores.items():
        assert found[triple]["top1_cls"] == plain["top1_cls"], triple
        for name in (n for n in SMOOTH if n in plain):
            assert found[triple][name] == pytest.approx(plain[name], abs=points), (triple, name)
    for triple, plain_maps in maps.items():
        moved = max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in zip(drawn[triple], plain_maps, strict=True))
        assert moved <= cells, triple
    assert any(not np.array_equal(drawn[t], maps[t]) for t in maps), "the option changes the arithmetic"
