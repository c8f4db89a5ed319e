"""Table 2 end to end on miniature ImageNet and OpenImages; interrupted at every kind of step."""

import json
import shutil

import pandas as pd
import pytest

from cambench.bench.engine import run as running
from cambench.bench.host.errors import UsageError
from cambench.bench.paper import reproduce as doing
from cambench.bench.paper import table_plan as reproduce_plan
from cambench.bench.paper.reproduce import describe, reproduce
from cambench.bench.paper.requests import Reproduction
from cambench.bench.paper.table_plan import make_plan
from cambench.bench.training.estimate import NetworkCost
from cambench.bench.training.recipes.recipe import BackboneRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe
from cambench.bench.training.steps.loop import BackboneTrainer
from cambench.results.paper.published import published_table


class Cut:
    """KeyboardInterrupt at the n-th call of a function."""

    def __init__(self, monkeypatch, owner, name, calls):
        self.clean, self.left = getattr(owner, name), calls
        monkeypatch.setattr(owner, name, self)

    def __get__(self, instance, owner):
        return lambda *a, **k: self(instance, *a, **k)

    def __call__(self, *args, **options):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.clean(*args, **options)


def scores(out):
    """Ours in the report, and everything else that is in it."""
    return [(out / f"table2.{suffix}").read_bytes() for suffix in ("csv", "md", "tex")]


def test_whole_table_cut_anywhere_ends_as_if_never_cut(request_of, tmp_path, monkeypatch, head_cache):
    whole = request_of(table="table2", out=tmp_path / "whole")
    reproduce(make_plan(whole))
    frame = pd.read_csv(whole.out / "table2.csv")
    assert len(frame) == len(published_table("table2"))
    assert frame["ours"].notna().all()
    assert set(frame["metric"]) == {"top1_cls", "top1_loc", "gt_known_loc", "max_box_acc_v2", "pxap"}
    report = (whole.out / "table2.md").read_text().replace("\\", "")
    for text in ("73.89", "69.01", "OpenImages"):
        assert text in report

    # The second reproduction is to train by itself.
    shutil.rmtree(head_cache)
    cut = request_of(table="table2", out=tmp_path / "cut")
    places = [
        (BackboneTrainer, "_step", 2),
        (doing, "train_head", 3),
        (running, "run_pass", 2),
        (doing, "write_reproduction", 1),
    ]
    for owner, name, calls in places:
        with monkeypatch.context() as patch:
            Cut(patch, owner, name, calls)
            with pytest.raises(KeyboardInterrupt):
                reproduce(make_plan(cut))
    plan = make_plan(cut)
    assert all(s.done for s in plan.steps), "only the report was missing"
    reproduce(plan)
    assert scores(cut.out) == scores(whole.out)
    times = json.loads((whole.out / "times.json").read_text())
    assert len(times["steps"]) == len(plan.steps)
    assert times["steps_s"] == pytest.approx(sum(s["seconds"] for s in times["steps"]))


def test_every_network_of_the_paper_is_planned_with_its_own_recipe(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce_plan, "measure", lambda *_: NetworkCost(0.01, 8))
    request = Reproduction(table="table2", out=tmp_path / "out", data_root=tiny_data, device="cpu")
    plan = make_plan(request)
    named = {(s.dataset, s.what): s for s in plan.steps if s.kind == "network"}
    assert {(d, n) for d in ("imagenet", "openimages30k") for n in plan.networks.values()} == set(named)
    for (dataset, name), step in named.items():
        recipe = request.recipe_of(dataset, name)
        assert (recipe.network, recipe.dataset) == (name, dataset)
        assert step.images == recipe.epochs * {"imagenet": 8, "openimages30k": 6}[dataset]
    free = {name for (dataset, name), step in named.items() if dataset == "imagenet" and not step.images}
    assert free == {"vgg16", "resnet50", "inception_v3"}, "ImageNet's own networks have public weights"
    assert describe(named["imagenet", "vgg16"]) == "imagenet: take the public weights of vgg16"
    assert describe(named["imagenet", "vgg16_gap"]) == "imagenet: train network vgg16_gap"


def test_recipe_that_trains_nothing_needs_weights_that_fit(request_of, tmp_path):
    """As ``imagenet-vgg16``: public weights or none."""
    text = (tmp_path / "net.yaml").read_text().replace("epochs: 1", "epochs: 0")
    (tmp_path / "none.yaml").write_text(text)
    assert load_recipe(BackboneRecipe, str(tmp_path / "none.yaml")).epochs == 0
    request = request_of(datasets=("cub",), backbone_recipe=str(tmp_path / "none.yaml"))
    plan = make_plan(request)
    with pytest.raises(UsageError, match=r"trains nothing, but slim_.* 200 classes of cub"):
        reproduce(plan)
