"""The embedded benchmark measures something: trained maps beat every control, the sigmoid branch learns."""

import pytest

from cambench.bench.notebook.runs import run
from cambench.results.scores.shown import score_run


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return run(
        dataset="synthbirds",
        triples=("slim_resnet/{cam,layercam,random,center,uniform}/{softmax,sigmoid}",),
        out=tmp_path_factory.mktemp("birds") / "out",
        limit=96,
        device="cpu",
    ).run


@pytest.fixture(scope="module")
def scores(result):
    return score_run(result).scores


def of(scores, cam, metric, head="softmax"):
    return scores[f"slim_resnet/{cam}/{head}"][metric]


def test_the_shipped_network_knows_the_birds(scores):
    assert of(scores, "cam", "top1_cls") >= 90


@pytest.mark.parametrize("metric", ["max_box_acc_v2", "gt_known_loc", "pxap", "evidence_precision"])
@pytest.mark.parametrize("control", ["random", "center", "uniform"])
def test_controls_score_clearly_below_a_trained_cam(scores, metric, control):
    best = max(of(scores, c, metric, h) for c in ("cam", "layercam") for h in ("softmax", "sigmoid"))
    assert best > of(scores, control, metric) + 5


def test_the_sigmoid_branch_learns_beside_the_softmax_head(result):
    training = result.manifest.backbones["slim_resnet"].branches["sigmoid"].training
    losses = training["losses"]
    assert losses[-1] < 0.5 * losses[0]
    assert training["train_top1"]["sigmoid"] > training["train_top1"]["softmax"] - 5
    assert training["backbone_passes"] == 1


def test_every_score_that_the_data_supports_is_there(scores):
    assert set(scores["slim_resnet/cam/sigmoid"]) >= {
        "top1_cls", "top1_loc", "gt_known_loc", "max_box_acc", "max_box_acc_v2", "pxap",
        "average_drop", "increase_in_confidence", "average_gain", "evidence_precision",
    }  # fmt: skip
