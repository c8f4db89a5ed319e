"""``cambench train`` end to end on the tiny world, through the real entry point."""

import sys

import pytest
import torch
import yaml

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.contracts import BACKBONES, register_backbone
from cambench.bench.cli import app as cli
from cambench.bench.training.checkpoint import read_provenance
from cambench.bench.training.head import load_head
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
    facts = read_provenance(world / "net.safetensors")
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
        (
            f"train backbone {COMMON} --recipe backbone.yaml --out net.safetensors --split tests",
            "'tests': expected",
        ),
        (f"train head {COMMON} --recipe head.yaml --out head.safetensors", "no trained weights"),
        (
            f"train head {COMMON} --recipe head.yaml --branch relu --out head.safetensors",
            "'relu': expected",
        ),
        ("train head --backbone tinny --dataset squares --out head.safetensors", "did you mean 'tiny'"),
        ("train head --backbone tiny --dataset square --out head.safetensors", "did you mean 'squares'"),
    ],
)
def test_wrong_use(world, cambench, line, message):
    code, _, err = cambench(line)
    assert code == 2
    assert message in " ".join(err.split())
    assert not list(world.glob("*.safetensors"))


def test_existing_file_is_not_replaced(world, cambench):
    (world / "net.safetensors").write_bytes(b"precious")
    code, _, err = cambench(f"train backbone {COMMON} --recipe backbone.yaml --out net.safetensors")
    assert (code, (world / "net.safetensors").read_bytes()) == (2, b"precious")
    assert "exists" in err


@pytest.mark.parametrize("verb", ["backbone", "head"])
def test_a_finished_training_given_again_is_recognised(world, cambench, verb):
    """As after a process that was killed between its last file and its end; another request is refused."""
    assert cambench(f"train backbone {COMMON} --recipe backbone.yaml --out net.safetensors")[0] == 0
    start = "" if verb == "backbone" else "--weights net.safetensors "
    line = f"train {verb} {COMMON} {start}--recipe {verb}.yaml --out again.safetensors"
    assert cambench(line)[0] == 0
    content = (world / "again.safetensors").read_bytes()
    (world / "again.training").touch()
    code, out, err = cambench(f"{line} --workers 1")
    assert (code, err) == (0, "")
    assert "again.safetensors holds this training, finished; nothing was trained" in out
    assert not (world / "again.training").exists()
    (world / "again.training").touch()
    changed = (world / f"{verb}.yaml").read_text() + "\n"
    assert cambench(f"{line} --seed 1")[0] == cambench(f"{line} --limit 9")[0] == 2
    (world / f"{verb}.yaml").write_text(changed)
    code, _, err = cambench(line)
    assert code == 2
    assert "again.safetensors exists; delete it, or choose another name" in err
    assert (world / "again.training").exists()
    assert (world / "again.safetensors").read_bytes() == content


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


def test_every_checkpoint_carries_recipe_data_metrics_and_seed(world, cambench, backbone_recipe, head_recipe):
    line = f"train backbone {COMMON} --recipe backbone.yaml --out net.safetensors --seed 4 --accumulate 2"
    code, out, err = cambench(f"{line} --dtype bfloat16 --save-minutes 0")
    assert code == 0, err
    code, out, err = cambench(
        f"train head {COMMON} --recipe head.yaml --weights net.safetensors --out head.safetensors --seed 6 --each-epoch"
    )
    assert code == 0, err
    assert out.count("top-1 on test: softmax") == head_recipe.epochs
    for file, seed, digest in (
        ("net", 4, backbone_recipe.model_copy(update={"accumulate": 2, "dtype": "bfloat16"}).digest),
        ("head", 6, head_recipe.digest),
    ):
        record = read_provenance(world / f"{file}.safetensors")["record"]
        assert (record["seed"], record["recipe_digest"], record["data_fingerprint"]) == (seed, digest, "0-30-train")
        assert record["recipe"]["name"] == "tiny"
        assert record["losses"]
        assert record["eval_top1"]
        assert record["versions"]["torch"]
    command = read_provenance(world / "net.safetensors")["command"]
    assert "--accumulate 2 --dtype bfloat16" in command


def test_recipe_names_its_network_and_data_set(world, cambench, backbone_recipe):
    named = {**backbone_recipe.model_dump(mode="json"), "network": "tiny", "dataset": "squares"}
    (world / "named.yaml").write_text(yaml.safe_dump(named))
    code, _, err = cambench("train backbone --recipe named.yaml --device cpu --out net.safetensors")
    assert code == 0, err
    assert "--backbone tiny --dataset squares" in read_provenance(world / "net.safetensors")["command"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train backbone --recipe backbone.yaml --out n.safetensors", "is for any backbone: give --backbone"),
        ("train backbone --out n.safetensors", "give --recipe NAME, or --backbone and --dataset"),
        (f"train backbone {COMMON} --out n.safetensors", "no backbone recipe ships for squares"),
        (
            f"train backbone {COMMON} --recipe backbone.yaml --dtype int8 --out n.safetensors",
            "--dtype 'int8': expected",
        ),
        (
            f"train backbone {COMMON} --recipe backbone.yaml --accumulate 9 --out n.safetensors",
            "8 images cannot be cut",
        ),
        ("train backbone --recipe cub-resnet50 --root nowhere --out n.safetensors", "cub: root nowhere does not exist"),
        ("train backbone --recipe imagenet-vgg16_gap --out n.safetensors", "imagenet"),
        (f"train head {COMMON} --evaluate none --each-epoch --out n.safetensors", "--each-epoch needs a split"),
        ("train keys net.pth --backbone slim_vgg", "no layout of published checkpoints"),
    ],
)
def test_more_wrong_use(world, cambench, line, message):
    code, _, err = cambench(line)
    assert code in (1, 2)
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not list(world.glob("*.safetensors"))


def test_weights_of_another_data_set_start_a_network_aloud_and_are_refused_elsewhere(world, cambench, network):
    from cambench.baselines.weights.weight_files import save_state

    save_state(world / "seven.safetensors", network(classes=7).state_dict(), {})
    code, _, err = cambench(f"train head {COMMON} --recipe head.yaml --weights seven.safetensors --out h.safetensors")
    assert code == 2
    assert "tiny has 7 classes, squares has 3" in err
    line = f"run --dataset squares --triples tiny/gradcam/softmax --weights seven.safetensors --out {world / 'run'}"
    code, _, err = cambench(f"{line} --device cpu")
    assert code == 2
    assert "this tiny has 7 classes, squares has 3" in " ".join(err.split())
    code, out, err = cambench(
        f"train backbone {COMMON} --recipe backbone.yaml --weights seven.safetensors --out n.safetensors"
    )
    assert code == 0, err
    assert "weights from file seven.safetensors; the softmax head of 3 classes is new" in out
    assert open_backbone("tiny", weights=world / "n.safetensors").num_classes == 3


def test_account_of_a_checkpoint(world, cambench):
    from torchvision import models

    with torch.device("meta"):
        keys = models.vgg16(weights=None, init_weights=False).state_dict()
    state = {k: torch.zeros((1,) * v.ndim).expand(v.shape) for k, v in keys.items()}
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, world / "vgg.pth.tar")
    code, out, err = cambench("train keys vgg.pth.tar --backbone vgg16_gap")
    assert code == 0, err
    assert "26 keys used; branches in the file: none" in out
    assert "unused (6), the ImageNet network's own classifier" in out
    assert "missing (4), fresh parameters, to be trained" in out
    code, out, _ = cambench("train keys vgg.pth.tar --backbone vgg16 --all")
    assert "branches in the file: softmax (1000 classes)" in out
    assert "used     classifier.6.bias -> heads.softmax.mlp.6.bias" in out


def test_thresholded_pooling_is_trained_recorded_and_opened(world, cambench, backbone_recipe):
    recipe = {**backbone_recipe.model_dump(mode="json"), "pooling": {"kind": "tap", "threshold": 0.3}}
    (world / "tap.yaml").write_text(yaml.safe_dump(recipe))
    code, _, err = cambench(f"train backbone {COMMON} --recipe tap.yaml --out net.safetensors")
    assert code == 0, err
    named = COMMON.replace("tiny", "tiny+tap")
    code, _, err = cambench(f"train backbone {named} --recipe backbone.yaml --out named.safetensors")
    assert code == 0, err
    thresholds = [
        open_backbone("tiny+tap", weights=world / f"{n}.safetensors").head().threshold for n in ("net", "named")
    ]
    assert thresholds == [0.3, 0.1]
    assert read_provenance(world / "net.safetensors")["record"]["backbone"] == "tiny+tap"
    code, out, err = cambench(f"train head {named} --recipe head.yaml --weights net.safetensors --out head.safetensors")
    assert code == 0, err
    assert "1 backbone pass" in out
    network = open_backbone("tiny+tap", weights=world / "net.safetensors")
    load_head(world / "head.safetensors", network)
    assert (network.head("sigmoid").kind, network.head("sigmoid").threshold) == ("tap_linear", 0.3)
    code, _, err = cambench(f"train head {COMMON} --recipe head.yaml --weights net.safetensors --out h.safetensors")
    assert (code, "trained with cam and tap, not with cam: open them as tiny+tap" in " ".join(err.split())) == (1, True)


@pytest.mark.parametrize(
    ("pooling", "message"),
    [
        ({"kind": "tap", "threshold": 1}, "pooling.threshold"),
        ({"kind": "tap", "threshold": -0.1}, "pooling.threshold"),
        ({"kind": "max"}, "pooling.kind"),
    ],
)
def test_pooling_out_of_range(world, cambench, backbone_recipe, pooling, message):
    (world / "tap.yaml").write_text(yaml.safe_dump({**backbone_recipe.model_dump(mode="json"), "pooling": pooling}))
    code, _, err = cambench(f"train backbone {COMMON} --recipe tap.yaml --out net.safetensors")
    print(err)
    assert (code, message in err) == (2, True)
