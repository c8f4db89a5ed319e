"""``cambench.explain``: the benchmark's own maps for any pictures, and their display."""

import base64
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

import cambench
from cambench.baselines.backbones.own.plain import backbone_of
from cambench.bench.host.errors import UsageError
from cambench.metrics.functional.boxes import level_ious, quantize
from cambench.results.records.load import load_run

TRIPLES = ("slim_vgg/{gradcam,layercam,random}/{softmax,sigmoid}",)


@pytest.fixture
def finished(settings):
    """A run with stored maps and a trained sigmoid branch, and the paths of its images."""
    result = cambench.run(**settings | {"triples": TRIPLES, "keep_maps": True})
    return result, [settings["root"] / name for name in result.run.image_ids]


@pytest.fixture
def noise():
    """Three pictures (H,W,3) uint8."""
    return np.random.default_rng(0).integers(0, 256, (3, 50, 70, 3), dtype=np.uint8)


def test_maps_and_predictions_are_the_runs(finished):
    result, paths = finished
    for head in ("softmax", "sigmoid"):
        found = cambench.explain(
            "slim_vgg", paths, ["gradcam", "layercam", "random"], head, run=result.out,
            image_ids=list(result.run.image_ids),
        )  # fmt: skip
        for cam, one in found.items():
            triple = str(one.triple)
            stored = result.run.column(triple, "map")
            # The run has other batches (of four), whose sums a library may order otherwise.
            np.testing.assert_allclose(one.low_res.numpy(), stored, rtol=1e-4, atol=1e-5 * np.abs(stored).max())
            assert one.predicted.tolist() == result.run.column(triple, "predicted").tolist()
            assert one.degenerate.tolist() == result.run.column(triple, "degenerate").tolist()
            assert (cam == "random") == (triple == "slim_vgg/random/softmax")
        y = result.run.column("slim_vgg/gradcam/softmax", "y")
        np.testing.assert_allclose(found["gradcam"].probability.numpy(), y, rtol=1e-5)


def test_box_has_the_runs_iou(finished):
    result, paths = finished
    one = result.explain("slim_vgg/gradcam/sigmoid", paths)
    truth = np.array([[10, 20, 120, 150]])
    ious = level_ious(quantize(one.maps), [truth] * len(one)).single
    for i, (x0, y0, x1, y1) in enumerate(one.boxes(0.4).tolist()):
        left, top, right, bottom = max(x0, 10), max(y0, 20), min(x1, 120), min(y1, 150)
        shared = max(right - left + 1, 0) * max(bottom - top + 1, 0)
        whole = (x1 - x0 + 1) * (y1 - y0 + 1) + 111 * 131 - shared
        assert shared / whole == pytest.approx(float(ious[i, int(0.4 * 255)]), abs=1e-12)
    width, height = Image.open(paths[0]).size
    x0, y0, x1, y1 = one.boxes()[0].tolist()
    expected = [x0 * width / 224, y0 * height / 224, x1 * width / 224, y1 * height / 224]
    assert one.original_boxes()[0].tolist() == pytest.approx(expected)


def test_a_run_lends_its_heads_protocol_and_class_names(finished):
    result, paths = finished
    one = result.explain("slim_vgg/layercam/sigmoid", paths[:2])
    assert one.class_name(3) == result.run.manifest.dataset.class_names[3]
    by_file = cambench.explain(
        "slim_vgg", paths[:2], "layercam", head_weights=result.out / "heads" / "slim_vgg.sigmoid.safetensors"
    )
    assert torch.equal(one.low_res, by_file.low_res)
    assert torch.equal(one.score, by_file.score)
    with pytest.raises(KeyError, match="no records of slim_vgg/cam/softmax"):
        result.explain("slim_vgg/cam/softmax", paths)


def test_every_form_of_a_picture_gives_the_same_map(noise, tmp_path):
    for i, picture in enumerate(noise):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    tensors = torch.from_numpy(noise).permute(0, 3, 1, 2)
    forms = {
        "paths": [tmp_path / f"{i}.png" for i in range(3)],
        "text paths": [str(tmp_path / f"{i}.png") for i in range(3)],
        "PIL": [Image.fromarray(p) for p in noise],
        "array": noise,
        "tensor": tensors,
        "fractions": tensors.float() / 255,
        "half": (tensors.double() / 255).to(torch.float32).numpy().transpose(0, 2, 3, 1),
        "a list of batches": [tensors[:2], noise[2]],
    }
    found = {form: cambench.explain("slim_resnet", images, head="softmax") for form, images in forms.items()}
    for form, one in found.items():
        assert torch.equal(one.images, found["paths"].images), form
        assert torch.equal(one.low_res, found["paths"].low_res), form
    single = cambench.explain("slim_resnet", forms["PIL"][1], head="softmax")
    assert len(single) == 1
    assert torch.allclose(single.low_res[0], found["PIL"].low_res[1], rtol=1e-4, atol=1e-5)


def test_target_by_index_name_and_image(noise):
    names = [f"bird {k}" for k in range(12)]
    by_name = cambench.explain("slim_resnet", noise, head="softmax", target="bird 7", class_names=names)
    by_index = cambench.explain("slim_resnet", noise, head="softmax", target=[7, 7, 7], protocol="wsoleval")
    assert by_name.target.tolist() == by_index.target.tolist() == [7, 7, 7]
    assert torch.equal(by_name.low_res, by_index.low_res.clamp_min(0)), "the paper's rule drops negative values"
    predicted = cambench.explain("slim_resnet", noise, head="softmax")
    again = cambench.explain("slim_resnet", noise, head="softmax", target=predicted.predicted)
    assert torch.equal(predicted.low_res, again.low_res)
    assert predicted.score.tolist() == pytest.approx(predicted.probability.tolist())


TORCHVISION = [
    "resnet18",
    "alexnet",
    "squeezenet1_1",
    "densenet121",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "regnet_y_400mf",
    "mnasnet0_5",
    "googlenet",
]


@pytest.mark.parametrize("name", TORCHVISION)
def test_plain_torchvision_networks_keep_their_logits(name, noise):
    torch.manual_seed(0)
    options = {"init_weights": False, "transform_input": True} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(num_classes=5, **options).eval()
    one = cambench.explain(model, noise, head="softmax", batch_size=2)
    pixels = one.images.float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        expected = model((pixels - mean) / std).double().softmax(1)
    torch.testing.assert_close(one.probability, expected.max(1).values, rtol=1e-4, atol=1e-6)
    assert one.low_res.shape[0] == 3


def test_a_class_token_network_of_torchvision_is_read_at_the_last_normalised_patches(noise):
    """Against autograd through its own encoder: Grad-CAM of the patches that its last block attends to."""
    small = {"image_size": 224, "patch_size": 32, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8}
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(**small, num_classes=4)
    nn.init.normal_(model.heads.head.weight)
    one = cambench.explain(model, noise[:1], head="softmax")
    kept = []
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    hook = model.encoder.layers[1].ln_1.register_forward_hook(lambda m, x, y: kept.append(y))
    logits = model.eval()((one.images.float() / 255 - mean) / std)
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[0].max(), kept[0])
    weights = gradient[0, 1:].mean(0)
    expected = (kept[0][0, 1:] @ weights).view(7, 7).relu()
    torch.testing.assert_close(one.low_res[0], expected.detach(), rtol=1e-3, atol=1e-5)
    assert model.encoder.layers[1].ln_1.weight.requires_grad


def test_plain_timm_network_is_the_one_by_name(noise):
    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=4)
    model.train()
    one = cambench.explain(model, noise, head="softmax")
    assert backbone_of(model).head_kind == "gap_linear"
    assert one.low_res.shape == (3, 7, 7)
    assert model.training, "the caller's network stays as it is"


def test_a_network_without_an_agreeing_split_is_read_by_hooks(noise):
    class Twisted(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.pool, self.fc = nn.Conv2d(3, 4, 3, 8), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(self.pool(self.conv(x).abs()).flatten(1))

    torch.manual_seed(0)
    model = Twisted()
    network = backbone_of(model)
    assert (network.feature_layer, network.head_kind, network.through_network) == ("conv", "other", False)
    one = cambench.explain(model, noise, head="softmax")
    assert one.low_res.shape == (3, 28, 28)
    assert one.low_res.amax() > 0


def test_pictures_of_an_explanation(noise, tmp_path, monkeypatch):
    one = cambench.explain("slim_resnet", noise, "gradcam", "softmax", class_names=["<b>$x$</b>"] * 12)
    overlays = one.overlay()
    assert [o.size for o in overlays] == [(224, 224)] * 3
    assert np.asarray(overlays[0]).std() > 0
    html = one._repr_html_()
    assert "<b>" not in html
    assert "&lt;b&gt;$x$" in html
    (data,) = re.findall(r"base64,([^\"]+)", html)
    assert base64.b64decode(data).startswith(b"\x89PNG")
    written = one.save(tmp_path / "maps.png")
    assert Image.open(written[0]).size == one.picture().size
    with pytest.raises(UsageError, match="expected a name ending in .png, .pdf or .svg"):
        one.save(tmp_path / "maps.gif")
    assert list(one.frame()["image_id"]) == ["image 0", "image 1", "image 2"]
    assert [len(part) for part in one] == [1, 1, 1]
    assert torch.equal(one[1:].maps, one.maps[1:])
    shown = []
    shell = SimpleNamespace(get_ipython=lambda: object(), display=SimpleNamespace(display=shown.append))
    monkeypatch.setitem(sys.modules, "IPython", shell)
    one.show()
    assert shown == [one]
    several = cambench.explain("slim_resnet", noise[:1], ["gradcam", "center"], "softmax")
    assert list(several) == ["gradcam", "center"]
    assert several.picture().width > one.picture().width
    assert set(several.frame()["cam"]) == {"gradcam", "center"}
    shown = several._repr_html_()
    assert shown.index("data:image/png") < shown.index("<td>center</td>")
    assert f"<td>{several.frame()['score'][0]:.3f}</td>" in shown


WRONG = {
    "draws the label's map": {"protocol": "wsoleval"},
    "^no such file: nowhere.png$": {"images": "nowhere.png"},
    "an address; download it": {"images": "https://example.org/heron.jpg"},
    r"a folder; give its pictures, e\.g\.": {"images": "."},
    "images: got int; expected a path": {"images": 3},
    r"shape \(70, 3\)": {"images": np.zeros((70, 3), np.uint8)},
    "from -1 to 1, expected fractions": {"images": np.array([[[-1.0, 0, 1]]])},
    "image 1: values of int64": {"images": [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), int)]},
    "none given": {"images": []},
    "classes 0 to 11": {"target": 12},
    "2 classes for 3 images": {"target": [1, 2]},
    "'heron': no such class; nearest: red-capped finch": {"target": "heron"},
    "needs attention": {"cam": "rollout"},
    "expected a fraction": {"tau": 20.0},
    "nowhere is not a run folder": {"run": "nowhere"},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_said(message, noise):
    given = {"images": noise, "head": "softmax"} | WRONG[message]
    with pytest.raises((UsageError, RuntimeError), match=message):
        cambench.explain("slim_resnet", **given)


def test_the_sigmoid_head_of_an_embedded_network_ships(noise):
    assert cambench.explain("slim_resnet", noise, head="sigmoid").triple.head == "sigmoid"


def test_a_wrapped_network_and_its_heads_stay_the_callers(finished):
    result, paths = finished
    network = backbone_of(timm.create_model("resnet10t", num_classes=3))
    before = list(network.heads)
    cambench.explain(network, paths[:1], head="softmax")
    assert list(network.heads) == before
    with pytest.raises(UsageError, match="no sigmoid branch: .*train head --backbone"):
        cambench.explain(network, paths[:1], head="sigmoid")
    with pytest.raises(UsageError, match="has no resnet10t|has no ResNet"):
        cambench.explain(network, paths[:1], run=result.out)
    assert load_run(result.out).triples == result.triples
