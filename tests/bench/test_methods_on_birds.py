"""Every affordable method on synthbirds: real methods find more evidence than noise does; the others are named."""

import pytest

from cambench.bench.run import run
from cambench.results.scores import score_run

pytest.importorskip("captum")
METHODS = (
    *("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "finercam", "shapleycam", "eigencam"),
    *("eigengradcam", "ablationcam", "saliency", "deeplift", "lrp", "guided_backprop", "fullgrad", "layercam_fused"),
)
NO_BETTER_THAN_NOISE: tuple[str, ...] = ()
"""Methods whose evidence precision on slim_vgg is not above the random control's."""


@pytest.mark.slow
def test_real_methods_beat_noise(tmp_path):
    cams = ",".join((*METHODS, "random"))
    found = run(
        dataset="synthbirds", triples=(f"slim_vgg/{{{cams}}}/softmax",), out=tmp_path / "out", limit=16, device="cpu"
    ).run
    scores = {t.split("/")[1]: s["evidence_precision"] for t, s in score_run(found).scores.items()}
    assert set(scores) == {*METHODS, "random"}
    losers = {cam for cam in METHODS if scores[cam] <= scores["random"]}
    assert losers == set(NO_BETTER_THAN_NOISE), scores
