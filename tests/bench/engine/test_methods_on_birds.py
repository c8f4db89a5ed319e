"""Every method on synthbirds: real methods find more evidence than noise does; the others are named."""

import pytest

from cambench.baselines.cams.method import CAMS
from cambench.bench.notebook.runs import run

pytest.importorskip("captum")
CHEAP = (
    *("gradcam", "gradcam++", "xgradcam", "layercam", "hirescam", "finercam", "shapleycam", "eigencam"),
    *("eigengradcam", "ablationcam", "saliency", "deeplift", "lrp", "guided_backprop", "fullgrad", "layercam_fused"),
    *("bagcams", "fem", "kpcacam", "liftcam", "zoomcam"),
)
COSTLY = ("smoothgradcam++", "scorecam", "occlusion", "ig", "smoothgrad", "reciprocam")
MASKS = ("iscam", "sscam", "rise")
FEW = ("extremal", "opticam")
"""Methods of a hundred passes an image and more."""
ELSEWHERE = ("cam", "rollout", "tscam", "legrad", "transformer_attribution", "vit_reciprocam", "acolmap", "spgmap")
"""Methods that Slim VGG cannot have: CAM wants a GAP and linear head, the next five a transformer, the last two a
network that ACoL or SPG trained."""


def precisions(cams, images, out):
    """Evidence precision (images,) of each method and of ``random`` on Slim VGG, softmax head."""
    triples = (f"slim_vgg/{{{','.join((*cams, 'random'))}}}/softmax",)
    found = run(dataset="synthbirds", triples=triples, out=out, limit=images, batch_size=min(images, 32), device="cpu")
    scores = {t.split("/")[1]: found.run.column(t, "evidence_precision") for t in found.run.triples}
    assert set(scores) == {*cams, "random"}
    assert {len(s) for s in scores.values()} == {images}
    return scores


def test_every_method_is_held_against_noise():
    real = {name for name in CAMS.names() if not CAMS.get(name).control}
    assert {*CHEAP, *COSTLY, *MASKS, *FEW, *ELSEWHERE} == real


def test_cheap_methods_beat_noise(tmp_path):
    scores = precisions(CHEAP, 4, tmp_path / "out")
    noise = scores.pop("random")
    assert not {cam: s - noise for cam, s in scores.items() if not (s > noise).all()}


@pytest.mark.slow
@pytest.mark.parametrize(("methods", "images"), [(CHEAP + COSTLY, 24), (MASKS, 4), (FEW, 2)])
def test_real_methods_beat_noise(methods, images, tmp_path):
    scores = {cam: s.mean() for cam, s in precisions(methods, images, tmp_path / "out").items()}
    noise = scores.pop("random")
    assert not {cam: (s, noise) for cam, s in scores.items() if s <= noise}
