"""Classifiers of every kind: none, one logit, independent sigmoids; images of any number of bands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_network import HALF, Small, evidence, pictures
from torch import Tensor, nn
from torch.nn import functional as F

import cambench
from cambench.baselines.backbones import backbone_of
from cambench.baselines.backbones.timm.layout import UnsupportedNetworkError
from cambench.baselines.cams import Evidence


def trunk(*last: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(3, 8, 3, 16, 1), nn.BatchNorm2d(8), nn.ReLU(), *(last or ()), *pool)


EMBEDDINGS = {
    "what 1 .BatchNorm2d. and a pooling make": trunk,
    "the activated outputs of 3 .Conv2d.": lambda: trunk(nn.Conv2d(8, 6, 3), nn.ReLU(), nn.MaxPool2d(2)),
    "the activated outputs of 5 .Linear.": lambda: nn.Sequential(*trunk(), nn.Linear(8, 6), nn.Hardswish()),
}


@pytest.mark.parametrize("message", list(EMBEDDINGS))
def test_a_network_without_a_classifier_is_refused_by_name(message: str) -> None:
    model = EMBEDDINGS[message]()
    words = f"Sequential is not supported: it has no classifier: its . values an image are {message}, features and no"
    with pytest.raises(UnsupportedNetworkError, match=words):
        cambench.wrap(model=model, **HALF)
    with pytest.raises(UnsupportedNetworkError, match=r"Sequential is .* it has no classifier: its \d values"):
        backbone_of(model, **HALF)
    classes = model(torch.zeros(1, 3, 64, 64)).shape[1]
    assert cambench.wrap(model=model, class_names=[str(k) for k in range(classes)], **HALF).num_classes == classes


@pytest.mark.parametrize(
    "last",
    [(nn.Conv2d(8, 6, 1),), (nn.Conv2d(8, 6, 3),), (nn.Conv2d(8, 6, 1), nn.ReLU())],
    ids=["1x1", "3x3", "squeeze"],
)
def test_convolutions_that_make_class_maps_are_classifiers(last: tuple[nn.Module, ...]) -> None:
    assert backbone_of(trunk(*last), **HALF).num_classes == 6


def test_timm_without_a_classifier_is_refused() -> None:
    import timm

    with pytest.raises(UnsupportedNetworkError, match=r"it has no classifier \(num_classes=0\).*reset_classifier"):
        backbone_of(timm.create_model("test_resnet", num_classes=0))


@pytest.mark.parametrize("end", ["logit", "sigmoid", "squeezed", "parts", "functions"])
def test_one_logit_has_two_readings(end: str) -> None:
    """By hand: class 1 has σ(z), class 0 has 1 − σ(z); the evidence of class 0 is the negated logit."""

    class Ending(Small):
        def forward(self, x: Tensor) -> Tensor:
            z = self.fc(self.maps(x).mean((-2, -1)))
            return {"sigmoid": z.sigmoid(), "squeezed": z.squeeze(1), "functions": F.softplus(z)}.get(end, z)

    model = Ending(classes=1)
    options: dict[str, Any] = {"model": model, "layer": "body"}
    if end == "parts":
        options = {
            "features": model.body,
            "head": nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), model.fc),
        }
        options["features"] = nn.Sequential(model.stem, model.norm, nn.ReLU(), model.body)
    net = cambench.wrap(name="chest", class_names=["pneumonia"], **options, **HALF)
    images = pictures()
    z = model.eval().fc(model.maps(images).mean((-2, -1)))
    z = F.softplus(z) if end == "functions" else z
    torch.testing.assert_close(net(images), torch.cat((-z, z), 1), rtol=1e-4, atol=1e-4)
    p = z.double().sigmoid()
    torch.testing.assert_close(net.scores(net(images)), torch.cat((1 - p, p), 1), rtol=1e-4, atol=1e-5)
    assert (net.num_classes, net.activation, net.class_names) == (2, "sigmoid", ("not pneumonia", "pneumonia"))
    found = evidence(net, images)
    again = Evidence(found.features, net.head(), 1 - found.target, found.image_ids, images, net)
    torch.testing.assert_close(found.gradients, -again.gradients)
    assert found.gradients.abs().max() > 0
    if end != "functions":
        assert net.head().fresh()(found.features).shape == (2, 2)


def test_gap_and_one_logit_stays_gap_and_linear() -> None:
    model = nn.Sequential(*trunk(), nn.Linear(8, 1))
    net = backbone_of(model, **HALF)
    weight = net.head().class_weights(torch.tensor([0, 1]))
    assert weight is not None
    assert net.head_kind == "gap_linear"
    assert torch.equal(weight[0], -model[-1].weight[0])
    assert torch.equal(weight[1], model[-1].weight[0])


def test_independent_sigmoids_are_a_multi_label_network() -> None:
    for model, said in ((nn.Sequential(Small(), nn.Sigmoid()), {}), (Small(), {"multi_label": True})):
        net = cambench.wrap(name="mine", model=model, **HALF, **said)  # type: ignore[arg-type]
        assert (net.multi_label, net.activation, net.num_classes) == (True, "sigmoid", 5)
        logits = Small().eval()(pictures())
        torch.testing.assert_close(net(pictures()), logits, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(net.scores(logits), logits.double().sigmoid())


class Softened(nn.Module):
    """A network whose forward ends in a softmax, at a temperature."""

    def __init__(self, temperature: float = 1) -> None:
        super().__init__()
        self.net, self.temperature = Small(), temperature

    def forward(self, images: Tensor) -> Tensor:
        return F.softmax(self.net(images) / self.temperature, dim=1)


SOFTENED = {
    "layer": lambda: nn.Sequential(Small(), nn.Softmax(dim=1)),
    "function": Softened,
    "split": lambda: nn.Sequential(*trunk(), nn.Linear(8, 5), nn.Softmax(dim=1)),
}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("end", list(SOFTENED))
def test_a_final_softmax_is_undone(end: str, wrapped: bool) -> None:
    """Its scores were softened twice: 0.24 for 0.39."""
    model = SOFTENED[end]().eval()
    net = cambench.wrap(name="mine", model=model, **HALF) if wrapped else backbone_of(model, **HALF)
    torch.testing.assert_close(net.scores(net(pictures())).float(), model(pictures()))
    plain = model[:-1] if end != "function" else model.net
    torch.testing.assert_close(net(pictures()), plain(pictures()))
    assert net.head_kind == backbone_of(plain, **HALF).head_kind
    assert (net.multi_label, net.activation, net.num_classes) == (False, "softmax", 5)
    assert evidence(net, pictures()).gradients.abs().max() > 0
    fresh = net.head().fresh(num_classes=3)
    assert fresh(net.features(pictures())).shape == (2, 3)


def test_a_softmax_of_no_layers_outputs_keeps_its_scores() -> None:
    model = Softened(2.5).eval()
    net = backbone_of(model, **HALF)
    torch.testing.assert_close(net.scores(net(pictures())).float(), model(pictures()))
    assert evidence(net, pictures()).gradients.abs().max() > 0


@pytest.mark.parametrize("bands", [1, 2, 4, 13])
def test_images_of_any_number_of_bands(bands: int) -> None:
    stats = {"mean": [0.25] * bands, "std": [0.5] * bands}
    model = Small(channels=bands)
    net = cambench.wrap(model=model, layer="body", **stats)
    assert net.image_channels == bands
    pixels = torch.rand(2, bands, 64, 64)
    normalised = net.normalise(pixels)
    torch.testing.assert_close(normalised, (pixels - 0.25) / 0.5)
    assert evidence(net, normalised).gradients.abs().max() > 0
    colours = torch.rand(2, 3, 8, 8)
    if bands == 1:
        grey = (0.299 * colours[:, 0] + 0.587 * colours[:, 1] + 0.114 * colours[:, 2])[:, None]
        torch.testing.assert_close(net.normalise(colours), (grey - 0.25) / 0.5)
    else:
        with pytest.raises(ValueError, match=f"takes images of {bands} channels, got 3"):
            net.normalise(colours)
