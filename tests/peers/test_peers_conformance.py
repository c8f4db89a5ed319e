"""Where the peers agree with us they agree to rounding; where they do not, the reason is known and written down."""

import pytest
import torch

pytest.importorskip("pytorch_grad_cam")
pytest.importorskip("torchcam")
pytest.importorskip("captum")
pytest.importorskip("quantus")

from conformance import EQUAL, NETWORKS, applicable, compare, example, page
from divergences import DIVERGES, REMARKS
from peer_fidelity import fidelity_rows, torch_cam_scores
from peer_methods import METHODS, captum_input
from peer_removal import SAME, removal_rows

from cambench import run
from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.results.scores.shown import score_run

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def examples():
    return {name: example(name) for name in NETWORKS}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", [m for m in METHODS if m.ours != "sscam"], ids=lambda m: f"{m.package}-{m.ours}")
def test_maps_agree_or_the_divergence_is_known(examples, network, method):
    if not applicable(method, examples[network][0]):
        pytest.skip(f"{method.ours} does not run on {network}")
    row = compare(method, *examples[network], rounds=0)
    if (method.package, method.ours) in DIVERGES:
        assert row.difference > 10 * EQUAL, "this divergence is gone: mend divergences.py"
    else:
        assert row.same, f"{method.package} {method.name} differs by {row.difference:.2e}"


def test_every_remark_is_about_a_compared_method():
    pairs = {(m.package, m.ours) for m in METHODS}
    assert set(DIVERGES) <= pairs
    assert set(REMARKS) <= pairs
    assert not set(DIVERGES) & set(REMARKS)


def test_torch_cams_grad_cam_plus_plus_has_lost_its_division(examples):
    """Its weights are Σ relu(G)³, neither Eq. 19 nor what its docstring says."""
    from torchcam.methods import GradCAMpp

    _, peer, images, classes = examples["slim_vgg"]
    with GradCAMpp(peer, peer.feature_layer) as extractor:
        (theirs,) = extractor._get_weights(classes, peer(images))
        gradients = extractor.hook_g[0]
    cubes = gradients.clamp_min(0).pow(3).flatten(2).sum(-1)
    assert torch.allclose(theirs, cubes, rtol=1e-4, atol=0)


def test_captum_has_no_relu_and_the_drop_of_pytorch_grad_cam_no_division(examples):
    from captum.attr import LayerGradCam

    _, peer, images, classes = examples["slim_vgg"]
    signed = LayerGradCam(peer, peer.get_submodule(peer.feature_layer)).attribute(images, target=torch.tensor(classes))
    assert (signed < 0).any()
    rows = {(r.package, r.score): r for r in fidelity_rows(*examples["slim_vgg"])}
    drop = rows["pytorch-grad-cam", "Average Drop"]
    assert drop.theirs < drop.ours, "Y < 1 divides"
    for package in ("torch-cam", "pytorch-grad-cam"):
        increase = rows[package, "Increase in Confidence"]
        assert increase.theirs == pytest.approx(increase.ours)


def test_the_deep_lift_of_captum_loses_contributions_before_max_pooling(examples):
    """Ours adds up to the change of the logit; Captum's own does not."""
    net, peer, images, classes = examples["slim_vgg"]
    index = torch.tensor(classes)[:, None]
    with torch.no_grad():
        change = (net(images) - net(torch.zeros_like(images))).gather(1, index)[:, 0]
        evidence = Evidence(net.features(images), net.head("softmax"), index[:, 0], list("abcd"), images, net)
        ours = CAMS.get("deeplift").fn(evidence).sum((1, 2))
    theirs = captum_input("DeepLift")(peer, images, classes).sum((1, 2))
    assert torch.allclose(ours, change, rtol=1e-4)
    assert not torch.allclose(theirs, change, rtol=2e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_run_under_torchcam_has_the_scores_of_torch_cams_metric(network, tmp_path):
    """Average Drop and Increase in Confidence of a whole run, from its records, against ClassificationMetric."""
    count = 24
    triple = f"{network}/gradcam/softmax"
    result = run(
        dataset="synthbirds", triples=(triple,), protocol="torchcam", out=tmp_path / "run", limit=count, device="cpu"
    )
    ours = score_run(result.run).scores[triple]
    net = open_backbone(network).requires_grad_(True)
    batch = next(iter(load_batches(open_table("synthbirds", None, "test"), list(range(count)), 224, count, 1)))
    images = net.normalise(batch.images.float() / 255)
    with torch.no_grad():
        classes = net(images).argmax(1).tolist()
    theirs = torch_cam_scores(net, images, classes)
    assert ours["average_drop"] == pytest.approx(100 * theirs["avg_drop"], abs=1e-2)
    assert ours["increase_in_confidence"] == pytest.approx(100 * theirs["conf_increase"], abs=1e-9)
    assert theirs["avg_drop"] > 0


@pytest.mark.parametrize("network", NETWORKS)
def test_road_imputation_and_similarity(examples, network):
    rows = {row.score: row for row in removal_rows(*examples[network])}
    for name in ("ROAD MoRF", "ROAD LeRF", "ROAD combined", "Spearman"):
        assert rows[name].ours == pytest.approx(rows[name].theirs, abs=SAME), name
    assert rows["ROAD LeRF"].ours != pytest.approx(rows["ROAD MoRF"].ours, abs=1)
    assert rows["imputation"].ours < 2e-3
    assert rows["SSIM"].ours != pytest.approx(rows["SSIM"].theirs, abs=SAME), "this divergence is gone"


def test_the_page_has_a_row_for_each_comparison(examples):
    net = examples["slim_resnet"][0]
    cheap = [m for m in METHODS if m.package == "Captum" and m.cheap and applicable(m, net)]
    rows = [compare(m, *examples["slim_resnet"], rounds=2) for m in cheap]
    text = page(rows, fidelity_rows(*examples["slim_resnet"]))
    assert text.count("| slim_resnet |") == len(rows) + 4
    assert "UNEXPLAINED" not in text
