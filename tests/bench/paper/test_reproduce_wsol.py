"""``cambench reproduce wsol`` on a few drawn birds, and the few-shot baseline's loss, targets and crops."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from cambench.bench.host.errors import UsageError
from cambench.bench.paper import few_shot
from cambench.bench.paper import reproduce as doing
from cambench.bench.paper import table_plan as reproduce_plan
from cambench.bench.paper.few_shot import box_masks, pixel_loss
from cambench.bench.paper.reproduce import reproduce
from cambench.bench.paper.requests import Reproduction
from cambench.bench.paper.table_plan import make_plan
from cambench.bench.training import into_file
from cambench.bench.training.estimate import NetworkCost
from cambench.bench.training.images.augment import augment_images, augment_pairs
from cambench.bench.training.recipes.recipe import Augment
from cambench.results.paper import published_wsol
from cambench.results.records.load import load_run
from cambench.results.scores import score_run

RECIPE = """name: tiny
source: a test
epochs: 1
batch_size: 3
size: 64
optimiser: {name: sgd, lr: 0.01, weight_decay: 0.0}
schedule: {kind: step}
augment: null
"""


@pytest.fixture
def trial(tmp_path, monkeypatch):
    """The maker of requests for the trial on six birds; fields to change."""
    (tmp_path / "net.yaml").write_text(RECIPE + "init: random\n")
    (tmp_path / "head.yaml").write_text(RECIPE)
    monkeypatch.setattr(reproduce_plan, "measure", lambda *_: NetworkCost(0.01, 8))

    def make(**fields):
        given = {
            "table": "wsol",
            "limit": 6,
            "networks": ("vgg16_gap",),
            "methods": ("has", "acol"),
            "backbone_recipe": str(tmp_path / "net.yaml"),
            "head_recipe": str(tmp_path / "head.yaml"),
            "out": tmp_path / "out",
            "device": "cpu",
            "workers": 1,
            "resamples": 20,
        }
        return Reproduction(**{**given, **fields})

    return make


def test_the_trial_goes_from_drawn_birds_to_a_table(trial, monkeypatch):
    plan = make_plan(trial())
    assert [(s.kind, s.what) for s in plan.steps if s.kind != "head"] == [
        ("network", "slim_vgg_gap"),
        ("network", "slim_vgg_gap+has"),
        ("network", "slim_vgg_gap+acol"),
        ("few_shot", "slim_vgg_gap"),
        ("records", "9 triples, wsoleval"),
    ]
    paths = reproduce(plan)
    out = plan.request.out
    frame = pd.read_csv(out / "wsol.csv").set_index(["backbone", "cam", "head"])
    scored = score_run(load_run(out / "records/synthbirds/wsoleval")).scores
    triples = {
        ("vgg16_gap", "cam", "softmax"): "slim_vgg_gap/cam/softmax",
        ("vgg16_gap", "cam", "sigmoid"): "slim_vgg_gap/cam/sigmoid",
        ("vgg16_gap+has", "cam", "softmax"): "slim_vgg_gap+has/cam/softmax",
        ("vgg16_gap+acol", "acolmap", "softmax"): "slim_vgg_gap+acol/acolmap/softmax",
        ("vgg16_gap+acol", "cam", "sigmoid"): "slim_vgg_gap+acol/cam/sigmoid",
        ("maps", "few_shot-slim_vgg_gap", "softmax"): "maps/few_shot-slim_vgg_gap/softmax",
        ("vgg16_gap", "center", "softmax"): "slim_vgg_gap/center/softmax",
    }
    for key, triple in triples.items():
        assert frame.loc[key, "ours"] == pytest.approx(scored[triple]["max_box_acc_v2"])
    published = published_wsol().query("normalisation == 'minmax' and dataset == 'cub' and network == 'vgg16_gap'")
    values = published.set_index("method")["value"]
    for key, method in [("vgg16_gap+has", "has"), ("vgg16_gap+acol", "acol"), ("maps", "few_shot")]:
        assert frame.loc[key].query("published == published")["published"].tolist() == [values[method]]
    changes = pd.read_csv(out / "wsol_changes.csv").set_index("cam")
    base = scored["slim_vgg_gap/cam/softmax"]["max_box_acc_v2"]
    ours = scored["slim_vgg_gap+acol/acolmap/softmax"]["max_box_acc_v2"] - base
    assert changes.loc["acol (acolmap)", "our_change"] == pytest.approx(ours)
    assert changes.loc["acol (acolmap)", "published_change"] == pytest.approx(57.38 - 63.71)
    added = pd.read_csv(out / "wsol_sigmoid.csv").set_index("backbone")
    assert list(added.index) == ["vgg16_gap", "vgg16_gap+has", "vgg16_gap+acol"]
    np.testing.assert_allclose(added["change"], added["sigmoid"] - added["softmax"])
    report = (out / "wsol.md").read_text().replace("\\", "")
    for text in ("slim_vgg_gap for vgg16_gap", "values of CUB-200-2011 stand beside", "accuracy of the networks"):
        assert text in report

    before = [p.read_bytes() for p in paths]
    again = make_plan(trial())
    assert all(s.done for s in again.steps)
    monkeypatch.setattr(doing, "train_head", None)
    monkeypatch.setattr(into_file, "train_backbone", None)
    monkeypatch.setattr(few_shot.FewShot, "train", None)
    assert [p.read_bytes() for p in reproduce(again)] == before
    marker = out / "few_shot/synthbirds/slim_vgg_gap.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "seed": "7"}))
    with pytest.raises(UsageError, match=r"slim_vgg_gap\.json was trained with another seed \(7, now 0\)"):
        reproduce(make_plan(trial()))


def test_without_a_supervised_val_the_baseline_is_left_out_and_said(trial, tiny_data):
    """These OpenImages have no val; of CUB a part of train is held out, with its boxes."""
    names = ("cub", "openimages30k")
    plan = make_plan(trial(data_root=tiny_data, datasets=names, substitutes={"vgg16_gap": "slim_vgg_gap"}))
    assert plan.few_shot == {"cub": ("slim_vgg_gap",), "openimages30k": ()}
    maps = {name: [t for t in plan.triples[name] if t.startswith("maps/")] for name in names}
    assert maps == {"cub": ["maps/few_shot-slim_vgg_gap/softmax"], "openimages30k": []}
    assert [note.partition(",")[0] for note in plan.notes] == ["openimages30k: no few-shot baseline"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": ("hass",)}, "wsol has cam, has, acol, spg, adl, cutmix"),
        ({"networks": ("vgg16",)}, "wsol has vgg16_gap, inception_v3_gap, resnet50"),
        ({"table": "table1", "datasets": ("cub",)}, "choose from wsol"),
        ({"datasets": ("stanford_cars",)}, "wsol has no data set 'stanford_cars'"),
    ],
)
def test_wrong_requests(trial, fields, message):
    with pytest.raises(UsageError, match=message):
        make_plan(trial(**fields))


def test_recipes_of_the_table(trial):
    whole = trial(backbone_recipe="auto", datasets=("cub", "imagenet"), limit=None)
    adl = whole.recipe_of("cub", "vgg16_gap+adl")
    assert (adl.optimiser.lr, adl.method["threshold"]) == (2.430601e-05, 0.72)
    assert whole.recipe_of("imagenet", "resnet50").epochs > 0, "methods are compared on networks trained alike"
    tried = trial(backbone_recipe="auto")
    assert tried.recipe_of("synthbirds", "slim_vgg_gap+has").method["grid_size"] == 32
    assert tried.recipe_of("synthbirds", "slim_vgg_gap").init == "pretrained"


def test_the_loss_is_the_mean_over_the_pixels_that_count():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 4, 4, generator=generator)
    masks = torch.randint(0, 2, (2, 4, 4), generator=generator, dtype=torch.uint8)
    masks[0, 1, 2] = 255
    p = 1 / (1 + np.exp(-logits[:, 0].double().numpy()))
    y = masks.numpy()
    each = np.where(y == 1, -np.log(p), -np.log(1 - p))
    assert float(pixel_loss(logits, masks)) == pytest.approx(each[y != 255].mean(), rel=1e-6)


def test_targets_are_the_boxes_with_their_edges():
    masks = box_masks([np.array([[1, 2, 3, 4], [0, 0, 0, 0]]), np.zeros((0, 4), int)], 6)
    expected = np.zeros((2, 6, 6), int)
    expected[0, 2:5, 1:4] = 1
    expected[0, 0, 0] = 1
    assert masks.tolist() == expected.tolist()


def test_a_mask_is_cropped_and_flipped_as_its_image():
    images = torch.randint(0, 255, (4, 3, 20, 20), dtype=torch.uint8)
    spec, seeds = Augment(load_size=20), [1, 2, 3, 4]
    crops, masks = augment_pairs(images, images[:, 0], seeds, spec, 12)
    assert torch.equal(masks, crops[:, 0])
    assert torch.equal(crops, augment_images(images, seeds, spec, 12))
