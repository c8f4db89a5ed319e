"""Every affordable method on synthbirds: real methods find more evidence than noise does; the others are named."""

import pytest

from cambench.bench.run import run
from cambench.results.scores import score_run

pytest.importorskip("captum")
METHODS = (
    *("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "finercam", "shapleycam", "eigencam"),
    *("eigengradcam", "ablationcam", "saliency", "deeplift", "lrp", "guided_backprop", "fullgrad", "layercam_fused"),
    *("smoothgradcam++", "scorecam", "occlusion", "ig", "smoothgrad"),
)
NO_BETTER_THAN_NOISE: tuple[str, ...] = ()
"""Methods whose evidence precision on slim_vgg is not above the random control's."""


@pytest.mark.slow
@pytest.mark.parametrize(("methods", "images"), [(METHODS, 24), (("rise",), 4)])
def test_real_methods_beat_noise(methods, images, tmp_path):
    cams = ",".join((*methods, "random"))
    found = run(
        dataset="synthbirds",
        triples=(f"slim_vgg/{{{cams}}}/softmax",),
        out=tmp_path / "out",
        limit=images,
        device="cpu",
    ).run
    scores = {t.split("/")[1]: s["evidence_precision"] for t, s in score_run(found).scores.items()}
    assert set(scores) == {*methods, "random"}
    losers = {cam for cam in methods if scores[cam] <= scores["random"]}
    assert losers == set(NO_BETTER_THAN_NOISE) & set(methods), scores
