"""Heads trained by themselves, for a network whose own classes are not the data set's, and a run that takes them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cambench.baselines.backbones.opening import head_digest, open_backbone
from cambench.baselines.weights.weight_files import WeightsError
from cambench.bench.cli.app import app
from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.engine.planning.given import head_files
from cambench.bench.host.errors import RunError, UsageError
from cambench.bench.notebook.runs import run
from cambench.bench.training.head import save_head, train_head
from cambench.datasets.schema import DatasetError

RECIPE = """name: tiny
source: a test
epochs: 2
batch_size: 4
size: 64
optimiser: {name: sgd, lr: 0.05, weight_decay: 0.0}
schedule: {kind: step}
augment: null
"""


@pytest.fixture
def seven(blobs):
    """The blobs with labels modulo seven, so that no shipped network has their classes."""
    for file in blobs[1].glob("*/class_labels.txt"):
        lines = [line.rsplit(",", 1) for line in file.read_text().splitlines()]
        file.write_text("".join(f"{name},{int(label) % 7}\n" for name, label in lines))
    return blobs


def test_both_heads_from_files(seven, settings, tmp_path, monkeypatch):
    (tmp_path / "head.yaml").write_text(RECIPE)
    words = f"train head --backbone slim_vgg_gap --dataset wsol --root {seven[0]} --metadata {seven[1]}"
    words += f" --recipe {tmp_path}/head.yaml --evaluate none --device cpu --workers 1"

    def train(*more):
        return CliRunner().invoke(app, [*words.split(), *more])

    refused = train("--out", str(tmp_path / "b.safetensors"))
    assert isinstance(refused.exception, UsageError)
    assert "--branch softmax" in str(refused.exception)
    assert "--softmax-weights" in str(refused.exception)
    first, second = (tmp_path / f"{name}.safetensors" for name in "ab")
    done = train("--branch", "softmax", "--out", str(first))
    assert done.exit_code == 0, done.output
    done = train("--softmax-weights", str(first), "--out", str(second))
    assert done.exit_code == 0, done.output

    monkeypatch.setattr("cambench.bench.engine.head_keeper.train_head", None)
    triples = ("slim_vgg_gap/gradcam/{softmax,sigmoid}",)
    fields = {**settings, "triples": triples, "softmax_weights": first, "head_weights": second}
    manifest = run(**fields).run.manifest
    assert manifest.dataset.num_classes == manifest.backbones["slim_vgg_gap"].num_classes == 7
    branches = manifest.backbones["slim_vgg_gap"].branches
    assert {k: b.provenance for k, b in branches.items()} == {
        "softmax": "file a.safetensors",
        "sigmoid": "file b.safetensors",
    }
    assert all(b.training["num_classes"] == 7 for b in branches.values())
    with pytest.raises(UsageError, match="holds the sigmoid branch, wanted the softmax branch"):
        run(**{**fields, "out": tmp_path / "wrong", "softmax_weights": second})


def test_a_softmax_file_of_other_classes_is_refused(blobs, seven, settings, tmp_path):
    (tmp_path / "head.yaml").write_text(RECIPE)
    words = f"train head --backbone slim_vgg_gap --dataset wsol --root {seven[0]} --metadata {seven[1]}"
    words += f" --recipe {tmp_path}/head.yaml --evaluate none --branch softmax --out {tmp_path}/a.safetensors"
    assert CliRunner().invoke(app, words.split()).exit_code == 0
    labels = blobs[1] / "test" / "class_labels.txt"
    labels.write_text(labels.read_text().replace(",6", ",9"))
    with pytest.raises(Exception, match="labels up to 9, but slim_vgg_gap has 7 classes"):
        run(
            **{**settings, "triples": ("slim_vgg_gap/gradcam/softmax",)},
            softmax_weights=tmp_path / "a.safetensors",
        )


@pytest.mark.parametrize("field", ["weights", "head_weights", "softmax_weights"])
def test_a_file_for_a_network_that_no_triple_has_is_refused(settings, tmp_path, field):
    """Passed over, the run would take other weights than the user named."""
    config = RunConfig.create(**{**settings, field: {"slim_resnett": tmp_path / "w.safetensors"}})
    with pytest.raises(UsageError, match=r"--\S*weights slim_resnett=.*only slim_resnet"):
        run(config)


@pytest.mark.parametrize(
    ("field", "key", "triple", "said"),
    [
        ("head_weights", "*", "slim_resnet/gradcam/softmax", r"those of slim_resnet read softmax\); add a triple"),
        ("head_weights", "sigmoid", "slim_resnet/gradcam/softmax", r"--head-weights sigmoid=.*no triple reads"),
        ("head_weights", "slim_resnet:semantic", "slim_resnet/gradcam/sigmoid", "read softmax and sigmoid"),
        ("head_weights", "*", "maps/theirs/softmax", "no triple has a network; leave the file out"),
        ("weights", "*", "maps/theirs/softmax", "no triple has a network; leave the file out"),
    ],
)
def test_a_file_that_no_triple_reads_is_refused(settings, tmp_path, field, key, triple, said):
    """It was accepted unread, whatever was in it."""
    (tmp_path / "theirs" / "test").mkdir(parents=True)
    np.save(tmp_path / "theirs" / "test" / "000.npy", np.eye(3))
    maps = {"theirs": tmp_path / "theirs"} if triple.startswith("maps/") else {}
    fields = {**settings, "triples": (triple,), "maps": maps, field: {key: tmp_path / "missing.safetensors"}}
    with pytest.raises(UsageError, match=said):
        run(**fields)
    assert not settings["out"].exists()


BOTH = ("softmax", "sigmoid", "semantic")


@pytest.mark.parametrize(
    ("given", "branches", "expected"),
    [
        ({"*": "f"}, BOTH[:2], {"sigmoid": "f"}),
        ({"*": "f"}, ("softmax", "semantic"), {"semantic": "f"}),
        ({"net": "f"}, ("softmax", "semantic"), {"semantic": "f"}),
        ({"*": "f"}, ("softmax",), {}),
        ({"semantic": "f"}, BOTH, {"semantic": "f"}),
        ({"semantic": "f", "*": "g"}, BOTH, {"semantic": "f", "sigmoid": "g"}),
        ({"net:sigmoid": "f", "semantic": "g"}, BOTH, {"sigmoid": "f", "semantic": "g"}),
        ({"net": "f", "net:semantic": "g"}, BOTH, {"sigmoid": "f", "semantic": "g"}),
    ],
)
def test_a_head_file_goes_to_the_branch_it_is_for(given, branches, expected):
    assert head_files("net", given, branches, only_one=True) == expected


@pytest.mark.parametrize(
    ("given", "only_one", "message"),
    [
        ({"*": "f"}, True, r"branches sigmoid and semantic; .* sigmoid=f or --head-weights semantic=f"),
        ({"net": "f"}, False, r"--head-weights net:sigmoid=f or --head-weights net:semantic=f"),
        ({"semantic": "f"}, False, "several backbones; write --head-weights BACKBONE:semantic=f"),
        ({"*": "f", "sigmoid": "g", "semantic": "h"}, True, "a file for every branch already"),
    ],
)
def test_a_head_file_that_could_be_for_either_branch_is_refused(given, only_one, message):
    with pytest.raises(UsageError, match=message):
        head_files("net", given, BOTH, only_one)


def test_an_ambiguous_head_file_is_refused_before_the_run_starts(settings, tmp_path):
    triples = ("timm:test_vit/gradcam/sigmoid", "timm:test_vit/tscam/token_semantic")
    fields = {**settings, "triples": triples, "pretrained": False, "head_weights": tmp_path / "h.safetensors"}
    with pytest.raises(UsageError, match="timm:test_vit read the branches sigmoid and semantic"):
        run(**fields)
    assert not settings["out"].exists()


def test_every_given_head_file_is_read_before_anything_is_trained(seven, settings, tmp_path, monkeypatch):
    """Of the second network, and of the branch behind one that must be trained."""
    monkeypatch.setattr("cambench.bench.engine.head_keeper.train_head", None)
    network = open_backbone("slim_resnet", num_classes=7)
    branch = network.head("softmax").fresh()
    (tmp_path / "damaged.safetensors").write_bytes(b"no weights")
    save_head(tmp_path / "softmax.safetensors", branch, "softmax", {})
    save_head(tmp_path / "other.safetensors", branch, "sigmoid", {"backbone": "slim_vgg"})
    save_head(tmp_path / "five.safetensors", network.head("softmax").fresh(num_classes=5), "sigmoid", {})
    seven_classes = {**settings["options"], "num_classes": 7}
    fields = {**settings, "options": seven_classes, "triples": ("slim_{vgg_gap,resnet}/gradcam/sigmoid",)}
    for name, error, message in (
        ("damaged", WeightsError, "not a safetensors file"),
        ("none", WeightsError, "no such file"),
        ("softmax", UsageError, "holds the softmax branch, wanted the sigmoid branch"),
        ("other", UsageError, "trained on slim_vgg's features, not on slim_resnet's"),
        ("five", UsageError, "5 classes, but the network has 7"),
    ):
        with pytest.raises(error, match=message):
            run(**fields, head_weights={"slim_resnet": tmp_path / f"{name}.safetensors"})
    assert not settings["out"].exists()


def test_a_given_branch_waits_for_the_softmax_head_that_decides_the_classes(seven, settings, tmp_path):
    """Without a class count of the data set, a network without a classifier has ImageNet's until it is trained."""
    (tmp_path / "head.yaml").write_text(RECIPE)
    fields = {**settings, "pretrained": False, "head_recipe": str(tmp_path / "head.yaml"), "limit": 4}
    fields |= {"triples": ("timm:test_resnet/gradcam/sigmoid",), "workers": 1}
    sigmoid = open_backbone("timm:test_resnet", pretrained=False).head("softmax").fresh(num_classes=7)
    save_head(tmp_path / "h.safetensors", sigmoid, "sigmoid", {})
    manifest = run(**fields, head_weights=tmp_path / "h.safetensors").run.manifest
    branches = manifest.backbones["timm:test_resnet"].branches
    assert {k: b.provenance for k, b in branches.items()} == {
        "softmax": "trained in this run",
        "sigmoid": "file h.safetensors",
    }
    assert branches["sigmoid"].sha256 == head_digest(sigmoid)


def test_a_damaged_head_of_a_run_is_to_be_deleted(settings):
    fields = {**settings, "triples": ("slim_resnet/gradcam/sigmoid",)}
    run(**fields)
    kept = settings["out"] / "heads" / "slim_resnet.sigmoid.safetensors"
    kept.write_bytes(kept.read_bytes()[:500])
    with pytest.raises(
        RunError, match=r"not a safetensors file.*Delete .*sigmoid.safetensors and give the same command"
    ):
        # A finished run given again reads no head; one more triple does.
        run(**{**fields, "triples": (*fields["triples"], "slim_resnet/layercam/sigmoid")})


def test_a_softmax_head_that_learnt_nothing_is_said(seven, settings, tmp_path, capsys, monkeypatch):
    (tmp_path / "head.yaml").write_text(RECIPE)
    seven_classes = {**settings["options"], "num_classes": 7}
    fields = {**settings, "options": seven_classes, "triples": ("slim_vgg_gap/gradcam/softmax",)}
    fields |= {"head_recipe": str(tmp_path / "head.yaml"), "retrain": True}
    for right, said in ((20.0, True), (40.0, False)):

        def train(*given, right=right, **options):
            return train_head(*given, **options).model_copy(update={"train_top1": {"softmax": right}})

        monkeypatch.setattr("cambench.bench.engine.head_keeper.train_head", train)
        run(**{**fields, "out": tmp_path / f"out{right}"})
        told = " ".join(capsys.readouterr().err.split())
        assert ("slim_vgg_gap: the softmax head trained on the 12 images of" in told) == said
        assert ("gets 20.0 % of them right (chance 14.3 %)" in told) == said


def test_a_head_that_cannot_be_trained_stops_a_run_before_its_work(tmp_path: Path) -> None:
    """The networks before it were computed first, and their tables were not made."""
    for folder in ("cat", "dog"):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        Image.new("RGB", (32, 32), "red").save(tmp_path / "photos" / folder / "a.png")
    fields = {"dataset": "folder", "root": tmp_path / "photos", "options": {"labels": "names"}, "out": tmp_path / "out"}
    triples = ("slim_vgg_gap/gradcam/softmax",)
    with pytest.raises(
        DatasetError, match="the softmax branch of slim_vgg_gap must be trained, which needs the train split"
    ):
        run(**fields, triples=triples, device="cpu", workers=1)
    assert not (tmp_path / "out").exists()
