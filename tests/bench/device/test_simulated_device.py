"""The engine on an accelerator: the same records as on the CPU, no mixed devices, no wait in the middle of a batch."""

import copy
from collections import Counter
from dataclasses import replace

import pytest
import torch
import yaml
from metric_batches import batch as metric_batch
from metric_batches import everything, values
from safetensors.torch import load_file
from scored_on import CONVOLUTIONAL, CPU, OTHERS, SIZE, batch, convolutional, same, transformer
from simulated_device import SIM, VALUE_READERS, WAITS
from torch.utils._python_dispatch import TorchDispatchMode
from typer.testing import CliRunner

from cambench.baselines.cams.method import CAMS
from cambench.baselines.heads.heads import MlpHead
from cambench.bench.cli.app import app
from cambench.bench.engine.scoring.clock import StageClock
from cambench.bench.engine.scoring.onepass import OnePass
from cambench.bench.engine.scoring.pass_boxes import BoxEngine
from cambench.bench.engine.scoring.reading import Reading
from cambench.bench.engine.scoring.scope import Scoring
from cambench.bench.notebook.runs import run
from cambench.bench.training.recipes.recipe import BackboneRecipe, HeadRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe
from cambench.bench.training.steps.wide_layer import CachedInputSteps, head_steps
from cambench.protocol import PAPER
from cambench.triple import Triple


def test_the_simulation_refuses_what_a_device_refuses(simulated):
    there = torch.ones(3).to(SIM)
    assert there.device == SIM
    assert (there * 2).sum().item() == 6
    assert WAITS["aten::_local_scalar_dense"] == 1
    with pytest.raises(RuntimeError, match="tensors on sim and on cpu"):
        there + torch.ones(3)
    with pytest.raises(TypeError, match="no memory"):
        there.numpy()


@pytest.mark.parametrize("cam", CONVOLUTIONAL)
def test_every_method_stays_on_its_device(cam, simulated, monkeypatch):
    names = CAMS.get("extremal").fn.__globals__
    monkeypatch.setitem(names, "SCHEDULE", replace(names["SCHEDULE"], steps=3))
    torch.manual_seed(0)
    same(convolutional(), SIZE, [cam], SIM)


def test_a_transformer_stays_on_its_device(simulated):
    # Fused attention is another kernel there, so the last bits differ.
    torch.manual_seed(0)
    same(transformer(), 224, ("gradcam", "layercam", "rollout", *OTHERS[2:5]), SIM, tolerance=1e-4)


def test_a_whole_run_writes_the_same_scores(settings, simulated):
    settings |= {"triples": ("slim_resnet/{cam,gradcam,layercam,layercam_fused,center}/{softmax,sigmoid}",)}
    run(**settings)
    WAITS.clear()
    there = settings["out"].with_name("sim")
    run(**{**settings, "device": "sim", "out": there})
    assert sum(WAITS.values()) > 0
    assert (there / "tables" / "scores.csv").read_bytes() == (settings["out"] / "tables" / "scores.csv").read_bytes()


def test_the_metric_classes_stay_on_their_device(simulated):
    data, here, there = metric_batch(), everything(), everything().to(SIM)
    here.update(**data)
    WAITS.clear()
    there.update(**{k: v.to(SIM) if torch.is_tensor(v) else v for k, v in data.items()})
    assert not any(WAITS[name] for name in VALUE_READERS)
    assert values(there) == values(here)


def tensors_of(tmp_path, blobs, device, *verb):
    file = tmp_path / f"{verb[1]}-{device}.safetensors"
    root, metadata = blobs
    given = ["--backbone", "slim_resnet", "--dataset", "wsol", "--root", str(root), "--metadata", str(metadata)]
    result = CliRunner().invoke(app, [*verb, *given, "--device", device, "--out", str(file)])
    assert result.exit_code == 0, result.output
    return load_file(file)


def test_training_makes_the_same_networks(blobs, tmp_path, simulated):
    short = load_recipe(BackboneRecipe, "cub-resnet50").model_copy(update={"epochs": 1, "batch_size": 4})
    recipe = tmp_path / "short.yaml"
    recipe.write_text(yaml.safe_dump(short.model_dump(mode="json")))
    for verb in (("train", "backbone", "--recipe", str(recipe)), ("train", "head")):
        here, there = (tensors_of(tmp_path, blobs, device, *verb) for device in ("cpu", "sim"))
        assert here.keys() == there.keys()
        for name, expected in here.items():
            torch.testing.assert_close(there[name], expected, rtol=1e-6, atol=1e-7)


def test_a_wide_head_trains_on_the_device_as_on_the_cpu(simulated):
    features, spec = torch.rand(12, 6, 4, 4), load_recipe(HeadRecipe, "paper").optimiser
    ended = []
    for device in (CPU, SIM):
        head = MlpHead(6, 3, hidden=(32,), pool=4).fresh(torch.Generator().manual_seed(0)).to(device).eval()
        steps = head_steps(head, spec, features.to(device))
        assert isinstance(steps, CachedInputSteps)
        for i in range(6):
            rows = torch.tensor([i, i + 3, i + 6]).to(device)
            steps.clear()
            steps.logits(features.to(device)[rows], rows).logsumexp(1).sum().backward()
            steps.step(1.0)
        assert steps.finite()
        steps.settle(last=True)
        ended.append({k: v.cpu() for k, v in head.state_dict().items()})
    for name, expected in ended[0].items():
        torch.testing.assert_close(ended[1][name], expected, rtol=1e-6, atol=1e-7)


def test_half_precision_is_asked_of_the_device(settings, simulated):
    settings |= {"triples": ("slim_resnet/{gradcam,scorecam}/softmax",), "dtype": "float16", "channels_last": True}
    found = run(**{**settings, "device": "sim"})
    assert found.records()["y"].between(0, 1).all()


def operators(net, device, cams):
    """Operators of a batch that locate maps and count their pixels, over so many methods."""
    seen = Counter()

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen[str(function)] += 1
            return function(*args, **(kwargs or {}))

    triples = [Triple("net", cam, "softmax") for cam in cams]
    reading = Reading(copy.deepcopy(net).to(device).freeze(), PAPER.model_copy(update={"size": SIZE}))
    engine = OnePass(reading, triples, Scoring((0.5,), True, box_engine=BoxEngine("tensor", device)), StageClock(CPU))
    try:
        engine.finish(engine.begin(batch(SIZE)))
        with Counting():
            engine.finish(engine.begin(batch(SIZE)))
    finally:
        engine.close()
    return seen


def test_maps_of_a_batch_are_located_in_one_call(simulated):
    torch.manual_seed(0)
    net = convolutional()
    few, many = ("gradcam", "layercam"), ("cam", "gradcam", "gradcam++", "layercam", "hirescam", "xgradcam")
    few, many = (operators(net, SIM, cams) for cams in (few, many))
    for name in ("aten.scatter_add_.default", "aten.floor.default"):
        assert few[name] == many[name] > 0, name
    # Beside one for all maps, the mask of each map's fidelity has its own.
    assert [found["aten.aminmax.default"] for found in (few, many)] == [1 + 2, 1 + 6]
