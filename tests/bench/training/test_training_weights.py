"""The shipped networks keep what their metadata says."""

import pytest

from cambench.baselines.backbones.opening import open_backbone
from cambench.bench.training.checkpoint import read_provenance
from cambench.bench.training.head import top1
from cambench.bench.training.recipes.recipe import BackboneRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe
from cambench.datasets.open import open_table

NAMES = ["slim_vgg", "slim_vgg_gap", "slim_resnet", "slim_inception"]


@pytest.fixture(scope="module")
def weights(request):
    return request.config.rootpath / "baselines" / "weights"


@pytest.mark.parametrize("name", NAMES)
def test_provenance_and_size(name, weights):
    file = weights / f"{name}.safetensors"
    facts = read_provenance(file)
    assert file.stat().st_size <= 3_000_000
    assert f"train backbone --backbone {name} --dataset synthbirds" in facts["command"]
    assert f"--seed {facts['seed']}" in facts["command"]
    recipe = load_recipe(BackboneRecipe, facts["record"]["recipe"]["name"])
    assert f"--recipe {recipe.name} " in facts["command"]
    assert facts["record"]["recipe_digest"] == recipe.digest
    assert facts["accuracy"]["test"] >= 90


@pytest.mark.parametrize("name", NAMES)
def test_stated_accuracy_on_the_test_split(name, weights):
    facts = read_provenance(weights / f"{name}.safetensors")
    table = open_table("synthbirds", split="test")
    measured = top1(open_backbone(name), table, 224, "cpu")["softmax"]
    # Library versions may move a pixel or a rounding: one image in a hundred.
    assert measured == pytest.approx(facts["accuracy"]["test"], abs=1.0)
