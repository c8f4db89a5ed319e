"""The recipes that ship: one for each network and data set of the paper, with the published numbers; inheritance."""

import pytest
import torch

from cambench.baselines.contracts import BACKBONES
from cambench.baselines.wsol import WsolMethod
from cambench.bench.host.errors import UsageError
from cambench.bench.training.recipes.recipe import BackboneRecipe, HeadRecipe
from cambench.bench.training.recipes.recipe_files import backbone_recipe_name, load_recipe
from cambench.bench.training.steps.loop import _groups

DATASETS = {"cub": "cub", "cars": "stanford_cars", "imagenet": "imagenet", "openimages": "openimages30k"}
NETWORKS = ("vgg16", "vgg16_gap", "resnet50", "inception_v3", "inception_v3_gap")
# First rate of the body, as the published scripts give it (0: no training); no Inception on Cars in the paper.
RATES = {
    "cub": (1e-4, 1.268269e-5, 2.3222617e-4, 2.24844746e-3, 2.24844746e-3),
    "cars": (1e-3, 1e-3, 1e-3, 1e-3, 1e-3),
    "imagenet": (0, 1.654502e-5, 0, 0, 3.606503e-4),
    "openimages": (3.4052401e-4, 3.4052401e-4, 1.07117324e-3, 3e-4, 3e-4),
}
EPOCHS = {"cub": (50, (15, 30, 45)), "cars": (10, ()), "imagenet": (10, (3, 6, 9)), "openimages": (10, (3, 6, 9))}


@pytest.mark.parametrize("short", DATASETS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_recipe_for_each_network_and_data_set(short, network):
    assert backbone_recipe_name(DATASETS[short], network) == f"{short}-{network}"
    recipe = load_recipe(BackboneRecipe, f"{short}-{network}")
    assert (recipe.name, recipe.network, recipe.dataset) == (f"{short}-{network}", network, DATASETS[short])
    assert recipe.init == "pretrained"
    rate = RATES[short][NETWORKS.index(network)]
    epochs, milestones = EPOCHS[short]
    assert recipe.epochs == (epochs if rate else 0)
    if not rate:
        assert "public weights" in recipe.source
        return
    assert recipe.schedule.milestones == milestones
    optimiser = recipe.optimiser
    assert (optimiser.name, optimiser.momentum, optimiser.nesterov) == ("sgd", 0.9, True)
    assert (optimiser.lr, optimiser.weight_decay) == (rate, 1e-4 if network == "resnet50" else 5e-4)
    assert (recipe.size, recipe.augment.load_size, recipe.augment.flip) == (224, 256, True)
    assert recipe.batch_size == (64 if (short, network) == ("cub", "inception_v3") else 32)
    with torch.device("meta"):
        net = BACKBONES.get(network).build(7)
    (body, slow), (fast, factor) = _groups(net, recipe, WsolMethod())
    assert (slow, factor) == (1.0, 10.0)
    named = {id(p): n for n, p in net.named_parameters()}
    begins = {"vgg16_gap": "conv6", "resnet50": "layer4", "inception_v3_gap": "conv7_"}.get(network, "-")
    assert {named[id(p)] for p in fast} == {n for n in named.values() if n.startswith(("heads.", f"body.{begins}"))}
    assert len(body) + len(fast) == len(named)


def test_recipe_of_a_variant_and_of_a_stand_in():
    assert backbone_recipe_name("cub", "resnet50_28") == "cub-resnet50"
    assert backbone_recipe_name("stanford_cars", "timm:resnet18") == "cars"
    assert load_recipe(BackboneRecipe, "imagenet-resnet50-tuned").optimiser.lr == 3.108411e-5
    with pytest.raises(UsageError, match="no backbone recipe ships for tiny_imagenet; known: .*cub-resnet50"):
        backbone_recipe_name("tiny_imagenet", "resnet50")


def test_head_recipes_inherit_the_published_schedule():
    paper, augmented, slip = (load_recipe(HeadRecipe, n) for n in ("paper", "paper-augmented", "paper-resnet50"))
    assert augmented.model_copy(update={"augment": None}).digest == paper.digest
    assert (paper.optimiser.lr, slip.optimiser.lr) == (0.03, 0.003), "the slip leaves out the tenfold rate"
    assert slip.optimiser.model_copy(update={"lr": 0.03}) == paper.optimiser


def test_own_file_extends_a_shipped_recipe_and_one_beside_it(tmp_path):
    (tmp_path / "base.yaml").write_text("name: base\nextends: cub-resnet50\nsource: mine\nepochs: 3\n")
    (tmp_path / "mine.yaml").write_text("name: mine\nextends: base.yaml\noptimiser: {lr: 0.5}\naugment: null\n")
    recipe, shipped = (
        load_recipe(BackboneRecipe, str(tmp_path / "mine.yaml")),
        load_recipe(BackboneRecipe, "cub-resnet50"),
    )
    assert (recipe.name, recipe.epochs, recipe.optimiser.lr, recipe.augment) == ("mine", 3, 0.5, None)
    assert recipe.optimiser.weight_decay == shipped.optimiser.weight_decay
    assert recipe.head_like == shipped.head_like


@pytest.mark.parametrize(
    ("parent", "message"),
    [("b.yaml", "extends itself"), ("nowhere", "unknown backbone recipe 'nowhere'"), ("c.yaml", "no such file")],
)
def test_wrong_parents(tmp_path, parent, message):
    (tmp_path / "a.yaml").write_text(f"name: a\nextends: {parent}\n")
    (tmp_path / "b.yaml").write_text("name: b\nextends: a.yaml\n")
    with pytest.raises(UsageError, match=message):
        load_recipe(BackboneRecipe, str(tmp_path / "a.yaml"))
