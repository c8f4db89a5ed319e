"""A head is trained once: what ships and what an earlier run kept is what a training gives, and stands in its place."""

import numpy as np
import pytest
import torch

import cambench
from cambench.baselines.backbones import open_backbone
from cambench.baselines.weights import load_state
from cambench.bench.engine import head_keeper
from cambench.bench.figures.figure_request import FigureRequest
from cambench.bench.figures.inputs import ready_networks
from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.runs import run
from cambench.bench.training import head_cache as head_cache_file
from cambench.bench.training import head_into_file
from cambench.bench.training.checkpoint import load_head, read_provenance
from cambench.bench.training.head import train_head
from cambench.bench.training.head_cache import SHIPPED, cached_head, drawn_data, shipped_head
from cambench.bench.training.head_into_file import head_into
from cambench.bench.training.recipes.recipe import HeadRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe
from cambench.bench.training.request import HeadTraining
from cambench.datasets.open import DataSource

NETWORKS = ("slim_vgg", "slim_vgg_gap", "slim_resnet", "slim_inception", "efficientnet_lite0")
TRIPLE = "slim_resnet/gradcam/sigmoid"


@pytest.fixture
def fields(settings, tmp_path):
    """A run whose sigmoid branch is trained on twelve blobs, in one epoch."""
    recipe = load_recipe(HeadRecipe, "synthbirds").model_copy(update={"epochs": 1})
    (tmp_path / "head.yaml").write_text(recipe.model_dump_json())
    return {**settings, "triples": (TRIPLE,), "head_recipe": str(tmp_path / "head.yaml")}


@pytest.fixture
def trainings(monkeypatch):
    """Branches that were trained."""
    done = []

    def train(*given, **options):
        done.append(given[3])
        return train_head(*given, **options)

    for owner in (head_keeper, head_into_file):
        monkeypatch.setattr(owner, "train_head", train)
    return done


def branch(result):
    return result.run.manifest.backbones["slim_resnet"].branches["sigmoid"]


def test_what_one_run_trained_the_next_one_takes(fields, tmp_path, trainings, head_cache):
    results = [run(**{**fields, "out": tmp_path / out}) for out in ("a", "b")]
    assert trainings == ["sigmoid"]
    assert [branch(r).provenance for r in results] == ["trained in this run", "trained in an earlier run"]
    assert branch(results[0]).sha256 == branch(results[1]).sha256
    for column in ("y", "o", "hits_multi"):
        assert np.array_equal(*(r.run.column(TRIPLE, column) for r in results))
    # A run that goes on says the same of the head that it keeps.
    more = run(**{**fields, "out": tmp_path / "b", "triples": (TRIPLE, "slim_resnet/layercam/sigmoid")})
    assert branch(more).provenance == "trained in an earlier run"
    kept = next(head_cache.glob("*/*"))
    kept.write_bytes(kept.read_bytes()[:300])
    for out, asked in (("c", {}), ("d", {"retrain": True})):
        assert branch(run(**{**fields, "out": tmp_path / out, **asked})).provenance == "trained in this run"
    assert trainings == ["sigmoid"] * 3
    load_head(kept, open_backbone("slim_resnet"), "sigmoid")


def test_figures_take_it_too(fields, trainings):
    run(**fields)
    names = ("dataset", "root", "options", "head_recipe")
    request = FigureRequest.create(**{n: fields[n] for n in names}, device="cpu")
    (found,) = ready_networks(request, ["slim_resnet"], request.source.open(), lambda *_: {"sigmoid"})
    assert "sigmoid" in found[1].heads
    assert trainings == ["sigmoid"]


def training_of(fields, out, **more):
    shared = {n: fields[n] for n in ("dataset", "root", "options")}
    asked = {"backbone": "slim_resnet", "recipe": fields["head_recipe"], "out": out, "device": "cpu", **more}
    request = HeadTraining.create(**{**shared, **asked})
    recipe = load_recipe(HeadRecipe, request.recipe)
    return head_into(request, open_backbone("slim_resnet"), request.tables(), recipe, request.means())


def test_train_head_and_explain_take_it_too(fields, trainings, tmp_path, monkeypatch):
    first, whence = training_of(fields, tmp_path / "a.safetensors")
    assert (whence, trainings) == ("", ["sigmoid"])
    again, whence = training_of(fields, tmp_path / "b.safetensors")
    assert whence == "trained in an earlier run"
    assert again.losses == first.losses
    assert again.eval_top1 == pytest.approx(first.eval_top1)
    assert read_provenance(tmp_path / "b.safetensors")["record"]["taken_from"] == whence
    assert branch(run(**fields)).provenance == "trained in an earlier run"
    assert trainings == ["sigmoid"]
    # A network for which no head ships has the only one of the cache; of several the caller chooses.
    monkeypatch.setattr(head_cache_file, "SHIPPED", tmp_path)
    picture = np.zeros((50, 60, 3), np.uint8)
    shown = cambench.explain("slim_resnet", picture, head="sigmoid", device="cpu")
    given = cambench.explain(
        "slim_resnet", picture, head="sigmoid", head_weights=tmp_path / "a.safetensors", device="cpu"
    )
    assert torch.equal(shown.maps, given.maps)
    _, whence = training_of(fields, tmp_path / "c.safetensors", seed=1)
    training_of(fields, tmp_path / "d.safetensors", retrain=True)
    assert (whence, trainings) == ("", ["sigmoid"] * 3)
    with pytest.raises(UsageError, match="2 sigmoid branches of earlier trainings; give head_weights=FILE"):
        cambench.explain("slim_resnet", picture, head="sigmoid", device="cpu")


def test_a_key_is_of_these_very_rows_network_recipe_and_seed(tables):
    network, table, cpu = open_backbone("slim_resnet"), tables(24), torch.device("cpu")
    recipe = load_recipe(HeadRecipe, "synthbirds")
    other = recipe.model_copy(update={"epochs": 3})
    more = [(network, table.head(12), recipe, 0), (open_backbone("slim_vgg_gap"), table, recipe, 0)]
    more += [(network, table, other, 0), (network, table, recipe, 1), (network, table, recipe, 0)]
    paths = [cached_head(net, "sigmoid", rows, said, seed, cpu) for net, rows, said, seed in more]
    assert len(set(paths)) == 5
    assert cached_head(network, "sigmoid", table, recipe, 0, cpu) == paths[-1]


def test_heads_ship_for_the_embedded_networks_and_no_other_data(monkeypatch, tables):
    recipe = load_recipe(HeadRecipe, "synthbirds")
    found = []
    for name in NETWORKS:
        network = open_backbone(name, num_classes=12)
        for part in ("softmax", "sigmoid") if network.needs_training else ("sigmoid",):
            file = shipped_head(network, part, "synthbirds-1", recipe)
            assert file is not None
            load_head(file, network, part)
            found.append(file)
            assert read_provenance(file)["record"]["images"] == 2400
    assert sorted(found) == sorted(SHIPPED.glob("*.safetensors"))
    assert shipped_head(network, "sigmoid", "synthbirds-1", recipe, seed=1) is None
    assert shipped_head(network, "sigmoid", "synthbirds-2", recipe) is None
    assert shipped_head(network, "sigmoid", "synthbirds-1", load_recipe(HeadRecipe, "paper")) is None
    drawn = DataSource("synthbirds", options={"count": 12}).open()
    assert drawn_data(drawn, {}) == "synthbirds-1"
    assert drawn_data(drawn, {"count": 12}) is None
    assert drawn_data(tables(2), {}) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slim_resnet", "slim_vgg_gap"])
def test_what_ships_is_what_a_training_gives(name):
    network = open_backbone(name)
    train_head(network, DataSource("synthbirds", split="train").open(), load_recipe(HeadRecipe, "synthbirds"))
    shipped = load_state(shipped_head(network, "sigmoid"))
    made = network.head("sigmoid").state_dict()
    assert shipped.keys() == made.keys()
    for key, value in made.items():
        torch.testing.assert_close(value, shipped[key], rtol=1e-4, atol=1e-5)
