"""Opening networks by name: weights, classes, errors."""

from __future__ import annotations

import dataclasses
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from cambench.baselines.backbones.opening import features_digest, head_digest, open_backbone
from cambench.baselines.contracts import BACKBONES, Backbone
from cambench.baselines.weights.weight_files import WeightsError, save_state, weights_digest
from cambench.registry import UnknownNameError

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(2))


def saved(path: Path, classes: int, sigmoid: bool = False) -> tuple[Backbone, Path]:
    torch.manual_seed(1)
    net = BACKBONES.get("slim_resnet").build(classes)
    if sigmoid:
        net.heads["sigmoid"] = net.head().fresh(torch.Generator().manual_seed(4))
    save_state(path / "w.safetensors", net.state_dict(), {})
    return net.freeze(), path / "w.safetensors"


def test_weights_file_gives_its_network(tmp_path: Path) -> None:
    net, file = saved(tmp_path, 5, sigmoid=True)
    opened = open_backbone("slim_resnet", weights=file)
    assert torch.equal(opened(IMAGES), net(IMAGES))
    assert weights_digest(opened) == weights_digest(net)
    assert (opened.num_classes, opened.needs_training) == (5, False)
    assert opened.weights_source == "file w.safetensors"
    assert set(opened.heads) == {"softmax", "sigmoid"}
    assert head_digest(opened.head("sigmoid")) == head_digest(net.head("sigmoid"))
    assert not opened.training
    assert not any(p.requires_grad for p in opened.parameters())


def test_a_file_of_other_classes_is_refused_unless_a_new_head_is_wanted(tmp_path: Path) -> None:
    net, file = saved(tmp_path, 5, sigmoid=True)
    with pytest.raises(WeightsError, match=r"w\.safetensors: this slim_resnet has 5 classes, 9 are wanted"):
        open_backbone("slim_resnet", num_classes=9, weights=file)
    opened = open_backbone("slim_resnet", num_classes=9, weights=file, new_head=True)
    assert (opened.num_classes, opened.needs_training, set(opened.heads)) == (9, True, {"softmax"})
    assert opened(IMAGES).shape == (2, 9)
    assert torch.equal(opened.features(IMAGES), net.features(IMAGES))
    assert features_digest(opened) == features_digest(net)
    again = open_backbone("slim_resnet", 9, file, new_head=True)
    assert head_digest(opened.head()) == head_digest(again.head()), "seeded"
    assert not open_backbone("slim_resnet", num_classes=5, weights=file).needs_training


def test_features_digest_covers_the_normalisation(tmp_path: Path) -> None:
    net, _ = saved(tmp_path, 5)
    before = features_digest(net)
    net.mean += 0.01
    assert features_digest(net) != before


def test_random_parameters_are_seeded_and_marked() -> None:
    state = torch.get_rng_state()
    first, second = (open_backbone("slim_vgg", pretrained=False) for _ in range(2))
    assert weights_digest(first) == weights_digest(second)
    assert first.needs_training
    assert first.weights_source == "untrained"
    assert torch.equal(torch.get_rng_state(), state), "the caller's random numbers go on as before"


def test_weights_of_another_network(tmp_path: Path) -> None:
    _, file = saved(tmp_path, 5)
    with pytest.raises(WeightsError, match=r"do not fit slim_vgg\. missing: heads\.softmax\.mlp\.0\.weight"):
        open_backbone("slim_vgg", weights=file)
    with pytest.raises(WeightsError, match="no such file"):
        open_backbone("slim_vgg", weights=tmp_path / "none.pth")


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="slim_resnet"):
        open_backbone("slim_resnt")
    with pytest.raises(UnknownNameError, match="timm:resnet18"):
        open_backbone("resnet18")
    with pytest.raises(UnknownNameError, match="convnext_atto"):
        open_backbone("timm:convnext_ato", pretrained=False)


def test_shipped_weights_that_are_missing_say_how_to_train(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(BACKBONES.get("slim_vgg"), weights="nowhere.safetensors")
    monkeypatch.setitem(BACKBONES._entries, "slim_vgg", spec)
    with pytest.raises(WeightsError, match="nowhere.safetensors .*cambench train"):
        open_backbone("slim_vgg")


SHIPPED = files("cambench.baselines").joinpath("weights")


@pytest.mark.parametrize("name", [n for n in BACKBONES.names() if BACKBONES.get(n).weights])
def test_shipped_weights(name: str) -> None:
    spec = BACKBONES.get(name)
    if not SHIPPED.joinpath(spec.weights).is_file():
        pytest.skip("not trained yet")
    net = open_backbone(name)
    assert (net.num_classes, net.needs_training) == (spec.native_classes, False)
    assert net.weights_source == f"shipped {spec.weights}"
    spread = net.features(torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))).std()
    assert torch.isfinite(spread)
    assert spread > 0
