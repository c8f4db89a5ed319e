"""``cambench reproduce`` where something is missing, small or old: said before it costs hours, or with what to give."""

import pytest
import torch

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.backbones.surgery import TorchvisionWeights
from cambench.baselines.contracts import BACKBONES
from cambench.baselines.weights.weight_files import WeightsError, save_state
from cambench.bench.host.errors import UsageError
from cambench.bench.host.memory import BatchMemoryError
from cambench.bench.paper import reproduce as doing
from cambench.bench.paper import table_plan as reproduce_plan
from cambench.bench.paper.reproduce import reproduce
from cambench.bench.paper.table_plan import make_plan
from cambench.bench.training import into_file
from cambench.bench.training.checkpoint import load_training
from cambench.bench.training.estimate import NetworkCost, measure
from cambench.bench.training.images.features import feature_source
from cambench.bench.training.means import PLAIN_MEANS
from cambench.bench.training.recipes.recipe import HeadRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe
from cambench.datasets.open import open_table


@pytest.fixture
def no_measuring(monkeypatch):
    monkeypatch.setattr(reproduce_plan, "measure", lambda *_: NetworkCost(0.01, 8))


@pytest.mark.usefixtures("no_measuring")
def test_public_weights_are_fetched_before_anything_is_trained(request_of, tmp_path, monkeypatch):
    hub = tmp_path / "hub" / "checkpoints"
    hub.mkdir(parents=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(hub.parent))
    request = request_of(table="table2", substitutes={}, backbone_recipe="auto")
    # One download serves both VGG-16; the two Inceptions share theirs too.
    names = {"vgg16_gap": "VGG16", "resnet50": "ResNet50", "inception_v3_gap": "Inception_V3"}
    plan = make_plan(request)
    assert {k: w.name for k, w in plan.fetched.items()} == {k: f"{v}_Weights.IMAGENET1K_V1" for k, v in names.items()}
    asked = []

    def fetch(weights, wanted_by):
        asked.append(wanted_by)
        raise WeightsError(f"{wanted_by}: torchvision cannot fetch {weights.name}")

    monkeypatch.setattr(TorchvisionWeights, "fetch", fetch)
    monkeypatch.setattr(into_file, "train_backbone", None)
    with pytest.raises(WeightsError, match="vgg16_gap: torchvision cannot fetch VGG16"):
        reproduce(plan)
    assert asked == ["vgg16_gap"]
    weights = BACKBONES.get("resnet50").pretrained
    weights.file.write_text("there")
    assert weights.file.parent == hub
    assert set(make_plan(request).fetched) == {"vgg16_gap", "inception_v3_gap"}
    assert not make_plan(request_of()).fetched, "a recipe from random parameters needs none"


def test_estimate_counts_the_passes_that_the_cache_allows(request_of, tiny_data):
    request = request_of(datasets=("cub",), cache_mb=0, head_recipe="paper")
    plan = make_plan(request)
    heads = [s for s in plan.steps if s.kind == "head"]
    assert [s.images for s in heads] == [3 * 4] * 3
    assert len(plan.advice) == 3
    assert "--cache-mb 0" in plan.advice[0]
    assert [s.images for s in make_plan(request_of(datasets=("cub",))).steps if s.kind == "head"] == [4] * 3
    recipe = load_recipe(HeadRecipe, "paper")
    table = open_table("cub", tiny_data / "CUB_200_2011", "train")
    for name in ("slim_vgg", "slim_resnet"):
        source = feature_source(open_backbone(name), table, recipe, [], PLAIN_MEANS)
        next(source.epoch(range(len(table)), 2))
        assert measure(name, torch.device("cpu"), 1).kept * len(table) == source.bytes_needed


@pytest.mark.usefixtures("no_measuring")
def test_a_branch_of_another_recipe_is_refused_with_the_plan(request_of):
    request = request_of(datasets=("cub",))
    file = request.out / "heads" / "cub" / "slim_vgg_gap.sigmoid.safetensors"
    file.parent.mkdir(parents=True)
    branch = open_backbone("slim_vgg_gap").head("softmax")
    save_state(file, branch.state_dict(), {"record": '{"recipe_digest": "other", "seed": 0}'})
    with pytest.raises(UsageError, match=r"slim_vgg_gap\.sigmoid\.safetensors was trained with another data_finger"):
        make_plan(request)


@pytest.mark.usefixtures("no_measuring")
def test_too_little_memory_names_the_command_that_trains_in_parts(request_of, monkeypatch):
    def small(*_, **__):
        raise BatchMemoryError("no memory for 32 images; the largest that fits is 8: give --accumulate 4", 8)

    request = request_of(datasets=("cub",))
    plan = make_plan(request)
    with monkeypatch.context() as patch:
        patch.setattr(into_file, "train_backbone", small)
        with pytest.raises(BatchMemoryError, match=r"--accumulate 4.*--recipe .*net\.yaml.*cub/slim_vgg"):
            reproduce(plan)
    monkeypatch.setattr(doing, "train_head", small)
    with pytest.raises(BatchMemoryError, match="here: --batch-size"):
        reproduce(plan)


@pytest.mark.usefixtures("no_measuring")
def test_epochs_are_said_and_a_cut_training_says_where_it_goes_on(request_of, tmp_path, monkeypatch, capfd):
    recipe = tmp_path / "net.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 1", "epochs: 2"))
    request, said = request_of(datasets=("cub",)), []

    def stop_after_one(line):
        said.append(line)
        if "epoch 1 of 2" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(make_plan(request), stop_after_one)
    assert "loss" in said[-1]
    state = request.out / "networks" / "cub" / "slim_vgg_gap.training"
    assert state.is_file()
    with pytest.raises(UsageError, match="another training"):
        load_training(state, "another key")
    capfd.readouterr()
    monkeypatch.setattr(doing, "train_head", None)
    with pytest.raises(TypeError):
        reproduce(make_plan(request), said.append)
    assert "goes on after 1 of 2 epochs" in capfd.readouterr().err
    assert not state.exists()
