"""The same on a CUDA device: scores near those of the CPU, which adds the same numbers in another order."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scored_on import CONVOLUTIONAL, OTHERS, SIZE, convolutional, same, transformer

from cambench.baselines.cams.method import CAMS
from cambench.bench.notebook.runs import run
from cambench.bench.timing.device_doctor import examine_device

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
NEAR = 1e-3
OPTIONS = ({}, {"fill_chunks": True, "chunk_mib": 4}, {"box_engine": "triton"}, {"box_engine": "cpu"})


@pytest.mark.parametrize("cam", CONVOLUTIONAL)
def test_every_method_scores_as_on_the_cpu_and_waits_once(cam, monkeypatch):
    names = CAMS.get("extremal").fn.__globals__
    monkeypatch.setitem(names, "SCHEDULE", replace(names["SCHEDULE"], steps=3))
    torch.manual_seed(0)
    same(convolutional(), SIZE, [cam], torch.device("cuda"), tolerance=NEAR)


def test_a_transformer_scores_as_on_the_cpu():
    torch.manual_seed(0)
    same(transformer(), 224, ("gradcam", "layercam", "rollout", *OTHERS[2:5]), torch.device("cuda"), tolerance=NEAR)


@pytest.mark.parametrize("protocol", ["paper", "beyond-softmax-code", "wsoleval", "torchcam", "ivr", "rethinking-cam"])
@pytest.mark.parametrize("more", OPTIONS)
def test_a_run_scores_as_one_on_the_cpu(settings, protocol, more):
    settings |= {"triples": ("slim_resnet/{gradcam,layercam,hirescam,center}/softmax",), "protocol": protocol}
    here = run(**settings).records()
    there = run(**{**settings, **more, "device": "cuda", "out": settings["out"].with_name("cuda")}).records()
    assert here[["triple", "image_id", "predicted"]].equals(there[["triple", "image_id", "predicted"]])
    for name in ("y", "o"):
        np.testing.assert_allclose(there[name], here[name], atol=NEAR)


def test_box_engines_make_the_same_records(settings):
    settings |= {"triples": ("slim_resnet/{gradcam,layercam,hirescam,center}/softmax",), "device": "cuda"}
    found = [
        run(**{**settings, "box_engine": engine, "out": settings["out"].with_name(engine)}).records()
        for engine in ("cpu", "tensor", "triton")
    ]
    for other in found[1:]:
        assert other.equals(found[0])


def test_the_doctor_finds_nothing():
    report = examine_device("cuda")
    assert report.ok, report.checks
