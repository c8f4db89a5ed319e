"""Each WSOL method trained for a few steps on the CUB subset's 60 images, whole and cut (skipped without them)."""

from pathlib import Path

import pytest
import torch

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.wsol import WSOL
from cambench.bench.training.checkpoint import read_provenance
from cambench.bench.training.into_file import train_into
from cambench.bench.training.means import Means
from cambench.bench.training.recipes.method_recipes import method_recipe
from cambench.bench.training.recipes.recipe import BackboneRecipe
from cambench.bench.training.steps.loop import BackboneTrainer
from cambench.datasets.open import open_table

CUB = Path(__file__).parents[3].parent / "shared" / "data" / "CUB_200_2011"
pytestmark = pytest.mark.skipif(not CUB.is_dir(), reason="real images are not at hand")
STEPS, CUT = 9, 5
"""Three epochs of 60 images in batches of 20; the training is cut within the second."""


class CutError(Exception):
    pass


@pytest.fixture(scope="module")
def birds():
    return open_table("cub", CUB, "train")


def short(method):
    """The published recipe of the method on CUB, cut down to small images and few steps that move a slim network."""
    fields = method_recipe("cub-vgg16_gap", method).model_dump()
    if method == "has":
        fields["method"]["grid_size"] = 16
    return BackboneRecipe(
        **{
            **fields,
            **{"network": "slim_vgg_gap", "head_like": [], "epochs": 3, "batch_size": 20, "size": 64},
            "optimiser": {**fields["optimiser"], "lr": 0.003},
            "augment": {**fields["augment"], "load_size": 72},
        }
    )


@pytest.mark.parametrize("method", WSOL.names())
def test_a_short_training_finishes_and_one_that_was_cut_ends_as_it_does(tmp_path, monkeypatch, birds, method):
    recipe = short(method)
    name = "slim_vgg_gap" if method == "cam" else f"slim_vgg_gap+{method}"
    plain, steps = BackboneTrainer._step, []

    def counted(trainer, step, *rest):
        steps.append(step)
        if len(steps) == stop:
            raise CutError
        plain(trainer, step, *rest)

    def train(file):
        train_into(file, name, birds, recipe, Means(save_seconds=0), seed=4)

    monkeypatch.setattr(BackboneTrainer, "_step", counted)
    whole, cut, stop = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors", 0
    train(whole)
    assert steps == list(range(STEPS))
    steps.clear()
    stop = CUT
    with pytest.raises(CutError):
        train(cut)
    assert not cut.exists()
    steps.clear()
    stop = 0
    train(cut)
    assert steps == list(range(CUT - 1, STEPS)), "it goes on within the epoch"
    expected, found = open_backbone(name, weights=whole), open_backbone(name, weights=cut)
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in expected.state_dict().items())
    records = [read_provenance(file)["record"] for file in (whole, cut)]
    assert records[0]["losses"] == records[1]["losses"]
    assert records[0]["images"] == 60
    assert len(records[0]["losses"]) == 3
