"""``cambench train`` end to end on the tiny world, through the real entry point."""

import sys

import pytest
import yaml

from cambench.baselines.base import BACKBONES, register_backbone
from cambench.baselines.open import open_backbone
from cambench.bench import cli, cli_train
from cambench.bench.training import load_head
from cambench.datasets.schema import DATASETS, DatasetSpec


@pytest.fixture
def world(tables, network, backbone_recipe, head_recipe, tmp_path, monkeypatch):
    """A data set ``squares``, a network ``tiny`` and their recipes, as a user would name them."""
    DATASETS.names(), BACKBONES.names()
    monkeypatch.setattr(DATASETS, "_entries", dict(DATASETS._entries))
    monkeypatch.setattr(DATASETS, "_origin", dict(DATASETS._origin))
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    monkeypatch.setattr(BACKBONES, "_origin", dict(BACKBONES._origin))

    def load(root, split, options):
        return tables(30, seed=0 if split == "train" else 1, split=split)

    DATASETS.add("squares", DatasetSpec("squares", load, "Squares", "test", needs_root=False), origin="test")
    register_backbone("tiny")(lambda classes: network(classes=classes or 3))
    for kind, recipe in (("backbone", backbone_recipe), ("head", head_recipe)):
        (tmp_path / f"{kind}.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cambench(monkeypatch, capsys):
    """Runs a command line; returns (exit code, output, errors)."""

    def call(line):
        monkeypatch.setattr(sys, "argv", ["cambench", *line.split()])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


COMMON = "--backbone tiny --dataset squares --device cpu"


def test_network_then_branch(world, cambench):
    code, out, err = cambench(f"train backbone {COMMON} --recipe backbone.yaml --out net.safetensors --seed 1")
    assert code == 0, err
    assert "top-1 on squares test" in out
    assert not (world / "net.training").exists()
    facts = cli_train.read_provenance(world / "net.safetensors")
    assert facts["command"].startswith(
        "cambench train backbone --backbone tiny --dataset squares --recipe backbone.yaml"
    )
    assert facts["seed"] == "1"
    assert facts["data_fingerprint"] == "0-30-train"
    assert f"{facts['accuracy']['test']:.2f} %" in out
    assert facts["versions"]["torch"]

    code, out, err = cambench(
        f"train head {COMMON} --recipe head.yaml --weights net.safetensors --out head.safetensors"
    )
    assert code == 0, err
    assert "1 backbone pass" in out
    record = load_head(world / "head.safetensors", open_backbone("tiny", weights=world / "net.safetensors"))
    assert record["eval_top1"]["softmax"] == pytest.approx(facts["accuracy"]["test"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"train backbone {COMMON} --recipe nope --out net.safetensors", "unknown backbone recipe 'nope'"),
        (f"train backbone {COMMON} --recipe backbone.yaml --out net.pt", "ending in .safetensors"),
        (f"train backbone {COMMON} --recipe backbone.yaml --out net.safetensors --split tests", "choose one of"),
        (f"train head {COMMON} --recipe head.yaml --out head.safetensors", "no trained weights"),
        (f"train head {COMMON} --recipe head.yaml --branch relu --out head.safetensors", "expected sigmoid"),
        ("train head --backbone tinny --dataset squares --out head.safetensors", "did you mean 'tiny'"),
        ("train head --backbone tiny --dataset square --out head.safetensors", "did you mean 'squares'"),
    ],
)
def test_wrong_use(world, cambench, line, message):
    code, _, err = cambench(line)
    assert code == (1 if "--split" in line else 2)
    assert message in " ".join(err.split())
    assert not list(world.glob("*.safetensors"))


def test_existing_file_is_not_replaced(world, cambench):
    (world / "net.safetensors").write_bytes(b"precious")
    code, _, err = cambench(f"train backbone {COMMON} --recipe backbone.yaml --out net.safetensors")
    assert (code, (world / "net.safetensors").read_bytes()) == (2, b"precious")
    assert "exists" in err


def test_diverged_training_fails_and_says_where_the_good_state_is(world, cambench, backbone_recipe):
    wild = backbone_recipe.model_dump(mode="json")
    wild["optimiser"] |= {"name": "sgd", "lr": 1e30}
    (world / "wild.yaml").write_text(yaml.safe_dump(wild))
    code, _, err = cambench(f"train backbone {COMMON} --recipe wild.yaml --out net.safetensors")
    assert code == 1
    assert "not finite at step" in " ".join(err.split())
    assert not (world / "net.safetensors").exists()


@pytest.mark.parametrize("verb", ["backbone", "head"])
def test_help_has_a_worked_example(cambench, verb):
    code, out, _ = cambench(f"train {verb} --help")
    assert code == 0
    assert f"cambench train {verb} --backbone slim_resnet" in " ".join(out.split())
