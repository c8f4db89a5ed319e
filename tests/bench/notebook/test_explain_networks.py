"""``explain`` on people's networks and pictures: defaults, layers, targets, bands, sizes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import cambench
from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.drawn_classes import as_rows, present
from cambench.datasets.formats import imagenet_class_names

HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
NAMES = [f"class {k}" for k in range(5)]


def small(classes=5, channels=3):
    torch.manual_seed(0)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layers = (nn.Conv2d(channels, 6, 3, 16, 1), nn.ReLU(), nn.Conv2d(6, 8, 1), nn.ReLU(), *pool, nn.Linear(8, classes))
    return nn.Sequential(*layers)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_defaults_on_a_network_of_imagenets_classes(picture, tmp_path, monkeypatch):
    Image.fromarray(picture).save(tmp_path / "bird.png")
    one = cambench.explain(small(1000), tmp_path / "bird.png")
    assert one.triple.head == "softmax"
    assert one.class_name(int(one.predicted[0])) == imagenet_class_names()[int(one.predicted[0])]
    assert cambench.explain(small(1000), picture, target="tench").target.tolist() == [0]
    with pytest.raises(UsageError, match=r"target 'tenc': no such class; nearest: tench"):
        cambench.explain(small(1000), picture, target="tenc")
    (overlay,) = one.overlay(own_size=True)
    assert overlay.size == (80, 60)
    monkeypatch.chdir(tmp_path)
    assert [p.name for p in one.save()] == ["Sequential-gradcam-softmax.png"]
    assert (tmp_path / "Sequential-gradcam-softmax.png").stat().st_size > 0


def test_the_sigmoid_head_is_taken_where_there_is_one(picture):
    net = cambench.wrap(name="with_sigmoid", model=small(), **HALF)
    assert cambench.explain(net, picture).triple.head == "softmax"
    net.heads["sigmoid"] = net.head().fresh().eval()
    assert cambench.explain(net, picture).triple.head == "sigmoid"
    assert cambench.explain(net, picture, head="softmax").triple.head == "softmax"


def test_another_layer(picture):
    net = cambench.wrap(name="layered", model=small(), **HALF)
    for model, layer in ((small(), "0"), (net, "body.net.0"), ("layered", "body.net.0")):
        one = cambench.explain(model, picture, layer=layer, **({} if model is net else HALF))
        assert one.low_res.shape == (1, 14, 14)
        torch.testing.assert_close(one.probability, cambench.explain(net, picture).probability)
    with pytest.raises(Exception, match="it has no layer 'nine'; nearest: "):
        cambench.explain(net, picture, layer="nine")


def test_several_classes_of_one_picture(picture):
    one = cambench.explain(
        small(), [picture, picture], target=[[3, 1], ["fox"]], class_names=[*NAMES[:4], "fox"], **HALF
    )
    assert one.target.tolist() == [3, 1, 4]
    assert one.image_ids == ("image 0", "image 0", "image 1")
    for row, target in enumerate(one.target.tolist()):
        alone = cambench.explain(small(), picture, target=target, **HALF)
        torch.testing.assert_close(one.low_res[row], alone.low_res[0])
    assert cambench.explain(small(), picture, target=[3, 1], **HALF).target.tolist() == [3, 1]
    with pytest.raises(UsageError, match=r"target: 3 classes for 2 images; .*give a list of lists"):
        cambench.explain(small(), [picture, picture], target=[3, 1, 0], **HALF)
    with pytest.raises(UsageError, match="'two': 2 classes have this name; give its index"):
        cambench.explain(small(), picture, target="two", class_names=["two", "two", "a", "b", "c"], **HALF)


def test_labels_that_are_present():
    scores = torch.tensor([[0.9, 0.2, 0.6], [0.1, 0.3, 0.2], [0.5, 0.5, 0.5]])
    drawn = present(scores, 0.5)
    assert list(zip(drawn.pictures.tolist(), drawn.classes.tolist(), strict=True)) == [(0, 0), (0, 2), (1, 1), (2, 0)]
    rows = as_rows([[3, 1], [4]])
    assert (rows.pictures.tolist(), rows.classes.tolist()) == ([0, 0, 1], [3, 1, 4])


def test_a_multi_label_network_draws_every_label_above(picture):
    model = nn.Sequential(small(), nn.Sigmoid())
    pixels = torch.from_numpy(np.array(Image.fromarray(picture).resize((224, 224), Image.Resampling.BILINEAR)))
    with torch.no_grad():
        scores = model((pixels.permute(2, 0, 1)[None] / 255 - 0.5) / 0.5)[0]
    above = float(scores.median()) - 1e-4
    one = cambench.explain(model, picture, above=above, **HALF)
    assert one.target.tolist() == scores.argsort(descending=True)[: int((scores > above).sum())].tolist()
    torch.testing.assert_close(one.score.float(), scores[one.target], rtol=1e-4, atol=1e-5)
    assert one.predicted.tolist() == [int(scores.argmax())] * len(one)
    assert len(cambench.explain(model, picture, above=1.0, **HALF)) == 1


def test_one_logit_is_never_certain(picture):
    one = cambench.explain(small(1), picture, class_names=["pneumonia"], target=[[0, 1]], **HALF)
    assert [one.class_name(k) for k in (0, 1)] == ["not pneumonia", "pneumonia"]
    assert float(one.score.sum()) == pytest.approx(1)
    assert 0.5 <= float(one.probability[0]) < 0.99


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_pictures_of_any_number_of_bands(bands):
    stats = {"mean": (0.5,) * bands, "std": (0.5,) * bands}
    array = np.random.default_rng(0).integers(0, 256, (40, 50, bands), dtype=np.uint8)
    one = cambench.explain(small(channels=bands), array, **stats)
    same = cambench.explain(small(channels=bands), torch.from_numpy(array).permute(2, 0, 1), **stats)
    assert torch.equal(one.low_res, same.low_res)
    assert one.overlay(own_size=True)[0].size == (50, 40)
    assert one.picture().size == same.picture().size
    if bands == 1:
        flat = cambench.explain(small(channels=1), array[..., 0], **stats)
        assert torch.equal(flat.low_res, one.low_res)
    else:
        with pytest.raises(UsageError, match=rf"expected \(H,W,{bands}\), {bands} bands"):
            cambench.explain(small(channels=bands), array[..., :1], **stats)


def test_wrong_words_and_wrong_numbers(picture):
    for options, message in (
        ({"laier": "0"}, "explain takes no 'laier'; nearest: layer"),
        ({"above": 2}, "above 2: expected a score between 0 and 1"),
        ({"target": [[]]}, "target: no class for image 0"),
    ):
        with pytest.raises(UsageError, match=message):
            cambench.explain(small(), picture, **HALF, **options)


def test_what_belongs_to_wrap_says_so(picture):
    """The message about a segmentation network names ``score=``, and explain knew nothing of it."""
    with pytest.raises(UsageError, match=r"explain takes no 'score': give it to cambench\.wrap"):
        cambench.explain("slim_resnet", picture, score=lambda out: out)
