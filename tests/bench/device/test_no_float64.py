"""An accelerator without float64: the network is there, what needs float64 on the CPU, and the scores are the CPU's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scored_on import CONVOLUTIONAL, OTHERS, SIZE, convolutional, score, transformer
from simulated_device import SIM
from test_simulated_device import tensors_of

from cambench.baselines.cams.method import CAMS
from cambench.bench.notebook.explain import explain
from cambench.bench.notebook.runs import run
from cambench.float64 import float64_on_cpu
from cambench.triple import Triple


def test_the_simulation_has_no_float64(narrow):
    there = torch.ones(3, device=SIM)
    with pytest.raises(TypeError, match="sim has no float64"):
        there.double()
    with float64_on_cpu(SIM):
        assert there.double().device.type == "cpu"
        assert torch.zeros(2, dtype=torch.float64, device=SIM).device.type == "cpu"
        assert torch.from_numpy(np.ones(2)).to(SIM).device.type == "cpu"
        assert (there.double() * there).device.type == "cpu"
        assert there.double().to(SIM, torch.float32).device == SIM
        assert torch.nn.Linear(3, 2).to(SIM)(there.double()[None]).device == SIM
        there[1] = torch.ones((), dtype=torch.float64)
        assert there.add_(there.double()).device == SIM
    with pytest.raises(TypeError, match="sim has no float64"):
        there.double()


def test_the_gradient_reaches_the_device(narrow):
    there = torch.ones(3, device=SIM).requires_grad_()
    with float64_on_cpu(SIM):
        (found,) = torch.autograd.grad((there.double() * 2).sum(), there)
    assert found.device == SIM
    assert found.tolist() == [2, 2, 2]


OFTEN = ("gradcam", "random", "eigencam", "kpcacam", "rise", "occlusion", "reciprocam")
"""The usual one, one that draws numbers, and those that ask for float64 themselves; the others are slow."""


@pytest.mark.parametrize("cam", [c if c in OFTEN else pytest.param(c, marks=pytest.mark.slow) for c in CONVOLUTIONAL])
def test_every_method_scores_as_on_the_cpu(cam, narrow, monkeypatch):
    names = CAMS.get("extremal").fn.__globals__
    monkeypatch.setitem(names, "SCHEDULE", replace(names["SCHEDULE"], steps=3))
    torch.manual_seed(0)
    same(convolutional(), SIZE, [cam])


def test_a_transformer_scores_as_on_the_cpu(narrow):
    torch.manual_seed(0)
    same(transformer(), 224, ("gradcam", "layercam", "rollout", *OTHERS[2:5]), tolerance=1e-4)


def same(net, size, cams, tolerance=0.0):
    triples = [Triple("net", cam, head) for cam in cams for head in ("softmax", "sigmoid")]
    here, *_ = score(net, size, triples, torch.device("cpu"))
    with float64_on_cpu(SIM):
        there, *_ = score(net, size, triples, SIM)
    for triple in triples:
        assert here[triple].keys() == there[triple].keys()
        for name, expected in here[triple].items():
            if not tolerance:
                np.testing.assert_array_equal(there[triple][name], expected, err_msg=f"{triple} {name}")
            elif expected.dtype.kind == "f":
                np.testing.assert_allclose(there[triple][name], expected, rtol=tolerance, atol=tolerance, err_msg=name)


def test_a_whole_run_writes_the_same_scores_and_says_where(settings, narrow):
    settings |= {"triples": ("slim_resnet/{cam,gradcam,layercam,center}/{softmax,sigmoid}",)}
    run(**settings)
    there = settings["out"].with_name("sim")
    with pytest.warns(RuntimeWarning, match="sim has no float64: maps are resized, .* on the CPU") as said:
        run(**{**settings, "device": "sim", "out": there})
    assert len([w for w in said if "has no float64: maps" in str(w.message)]) == 1
    assert (there / "tables" / "scores.csv").read_bytes() == (settings["out"] / "tables" / "scores.csv").read_bytes()
    notes = json.loads((there / "run.json").read_text())["settings"]["notes"]
    assert any("sim has no float64" in note for note in notes)


def test_pictures_are_explained_as_on_the_cpu(narrow):
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    here, there = (explain("slim_resnet", picture, device=device) for device in ("cpu", "sim"))
    assert torch.equal(here.low_res, there.low_res)
    assert torch.equal(here.score, there.score)


def test_training_goes(blobs, tmp_path, narrow):
    here, there = (tensors_of(tmp_path, blobs, device, "train", "head") for device in ("cpu", "sim"))
    for name, expected in here.items():
        torch.testing.assert_close(there[name], expected, rtol=1e-6, atol=1e-7)
