"""Checkpoints in the published key layouts: what they compute, the account of their keys, what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from cambench.baselines.backbones.checkpoints import account_of, open_checkpoint, translate
from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.contracts import BACKBONES
from cambench.baselines.weights.weight_files import WeightsError, save_state

IMAGES = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))
VGG_14 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512)
VGG_28 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, 512, 512, 512)
VGG_ADL = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", "A", 512, 512, 512, "A", "M", 512, 512, 512, "A")


def vgg_layers(config: tuple[int | str, ...]) -> nn.Sequential:
    """Convolutions as wsolevaluation numbers them; A is its attention-based dropout, which has no parameters."""
    layers: list[nn.Module] = []
    width = 3
    for entry in config:
        if isinstance(entry, int):
            layers += [nn.Conv2d(width, entry, 3, padding=1), nn.ReLU()]
            width = entry
        else:
            layers.append(nn.MaxPool2d(2) if entry == "M" else nn.Identity())
    return nn.Sequential(*layers)


class PublishedVggGap(nn.Module):
    """``features``, ``conv6``, ``fc``, ``fc2``: the parameters of VggCam in wsolevaluation and of its second branch."""

    def __init__(self, config: tuple[int | str, ...], classes: int, second: bool) -> None:
        super().__init__()
        self.features = vgg_layers(config)
        self.conv6 = nn.Conv2d(512, 1024, 3, padding=1)
        self.fc = nn.Linear(1024, classes)
        if second:
            self.fc2 = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pooled = F.relu(self.conv6(self.features(x))).mean((-2, -1))
        return tuple(getattr(self, name)(pooled) for name in ("fc", "fc2") if hasattr(self, name))


def published(path: Path, state: dict[str, Tensor], prefix: str = "module.") -> Path:
    """A file as the published training code writes it."""
    content = {
        "architecture": "x",
        "epoch": 3,
        "state_dict": {prefix + k: v for k, v in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.1, "params": [0]}]},
    }
    torch.save(content, path / "last_checkpoint.pth.tar")
    return path / "last_checkpoint.pth.tar"


def tiny(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same keys and shapes with one stored number each, so that files of 100 MB take kilobytes."""
    return {k: torch.full((1,) * v.ndim, 0.5, device="cpu").to(v.dtype).expand(v.shape) for k, v in state.items()}


@pytest.fixture(scope="module")
def resnet_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = models.resnet50(weights=None, num_classes=6)
    return {**net.state_dict(), "fc2.weight": torch.randn(6, 2048), "fc2.bias": torch.randn(6)}


@pytest.fixture(scope="module")
def resnet_keys() -> dict[str, Tensor]:
    with torch.device("meta"):
        return tiny(models.resnet50(weights=None).state_dict())


@pytest.mark.parametrize("config", [VGG_14, VGG_28, VGG_ADL], ids=["14x14", "28x28", "ADL"])
def test_vgg_gap_with_both_branches(tmp_path: Path, config: tuple[int | str, ...]) -> None:
    torch.manual_seed(0)
    theirs = PublishedVggGap(config, 6, second=True).eval()
    name = "vgg16_gap_28" if config is VGG_28 else "vgg16_gap"
    net, account = open_checkpoint(name, published(tmp_path, theirs.state_dict()), num_classes=6)
    with torch.no_grad():
        softmax, sigmoid = theirs(IMAGES)
        torch.testing.assert_close(net(IMAGES), softmax, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net.head("sigmoid")(net.features(IMAGES)), sigmoid, rtol=1e-5, atol=1e-5)
    assert set(account.used) == set(theirs.state_dict())
    assert set(account.used.values()) == set(net.state_dict())
    assert (account.unused, account.missing, account.branches) == ({}, (), ("softmax", "sigmoid"))
    assert (net.num_classes, net.needs_training, net.training) == (6, False, False)
    assert net.weights_source == "file last_checkpoint.pth.tar"
    assert account.notes == ()


def test_vgg_of_the_large_map_says_so(tmp_path: Path) -> None:
    state = tiny(PublishedVggGap(VGG_28, 6, second=False).state_dict())
    _, account = open_checkpoint("vgg16_gap", published(tmp_path, state))
    assert account.branches == ("softmax",)
    assert "vgg16_gap_28" in account.notes[0]
    assert "note: " in account.summary()


def test_pointwise_classifier_of_vgg(tmp_path: Path) -> None:
    """``--last_layer conv`` of the authors' code: ``conv`` and ``conv2``, 1×1."""
    state = tiny(PublishedVggGap(VGG_14, 6, second=False).state_dict())
    for name in ("conv", "conv2"):
        state[f"{name}.weight"] = torch.randn(6, 1024, 1, 1)
        state[f"{name}.bias"] = torch.randn(6)
    del state["fc.weight"], state["fc.bias"]
    net, account = open_checkpoint("vgg16_gap", published(tmp_path, state))
    assert torch.equal(net.head("softmax").linear.weight, state["conv.weight"][..., 0, 0])
    assert torch.equal(net.head("sigmoid").linear.weight, state["conv2.weight"][..., 0, 0])
    assert account.used["conv2.weight"] == "heads.sigmoid.linear.weight"


def test_vgg_mlp_with_second_classifier() -> None:
    """``classifier`` and ``classifier_2``; on the meta device, as the two MLPs hold 1 GB."""
    with torch.device("meta"):
        net = BACKBONES.get("vgg16").build(200)
        theirs = models.vgg16(weights=None, num_classes=200, init_weights=False)
    state = theirs.state_dict()
    second = {k.replace("classifier.", "classifier_2."): v for k, v in state.items() if k.startswith("classifier.")}
    ours, account = translate(net, {f"module.{k}": v for k, v in {**state, **second}.items()}, "file")
    assert account.branches == ("softmax", "sigmoid")
    assert (account.unused, account.missing) == ({}, ())
    expected = {
        "classifier.0.weight": "heads.softmax.mlp.0.weight",
        "classifier.6.bias": "heads.softmax.mlp.6.bias",
        "classifier_2.3.weight": "heads.sigmoid.mlp.3.weight",
        "features.28.weight": "body.features.28.weight",
    }
    assert {k: account.used[k] for k in expected} == expected
    assert {k: v.shape for k, v in ours.items() if "sigmoid" not in k} == {
        k: v.shape for k, v in net.state_dict().items()
    }


def test_resnet_with_second_classifier(tmp_path: Path, resnet_state: dict[str, Tensor]) -> None:
    net, account = open_checkpoint("resnet50", published(tmp_path, resnet_state))
    own = net.state_dict()
    assert account.used["fc2.weight"] == "heads.sigmoid.linear.weight"
    assert account.used["layer3.5.bn2.running_var"] == "body.layer3.5.bn2.running_var"
    assert all(torch.equal(own[ours], resnet_state[theirs]) for theirs, ours in account.used.items())
    assert set(account.used) == set(resnet_state)
    assert set(net.heads) == {"softmax", "sigmoid"}
    # ADL puts a layer without parameters behind the first block of layer4.
    shifted = {
        k.replace("layer4.2.", "layer4.3.").replace("layer4.1.", "layer4.2."): v for k, v in resnet_state.items()
    }
    again, account = open_checkpoint("resnet50", published(tmp_path, shifted, prefix=""))
    assert account.used["layer4.3.conv1.weight"] == "body.layer4.2.conv1.weight"
    assert torch.equal(again.state_dict()["body.layer4.1.conv1.weight"], resnet_state["layer4.1.conv1.weight"])


def test_inception_gap_with_second_classifier(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = models.inception_v3(weights=None, num_classes=6, aux_logits=False, init_weights=False).eval()
    state = {k: v for k, v in whole.state_dict().items() if not k.startswith(("Mixed_7", "fc."))}
    for name, shape in {
        "SPG_A3_1b.0": (1024, 768, 3, 3),
        "SPG_A3_2b.0": (1024, 1024, 3, 3),
        "SPG_A4": (6, 1024, 1, 1),
        "SPG_A4_2": (6, 1024, 1, 1),
    }.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(shape) * 0.02, torch.randn(shape[0])
    extra = {"SPG_C.0.weight": torch.zeros(512, 1024, 3, 3)}
    net, account = open_checkpoint("inception_v3_gap", published(tmp_path, {**state, **extra}), num_classes=6)
    assert list(account.unused) == ["SPG_C.0.weight"]
    assert "SPG" in account.unused["SPG_C.0.weight"]
    assert (account.missing, account.branches) == ((), ("softmax", "sigmoid"))
    with torch.no_grad():
        x = net.get_submodule("body")[: list(dict(net.get_submodule("body").named_children())).index("dropout1")](
            IMAGES
        )
        for name in ("SPG_A3_1b.0", "SPG_A3_2b.0"):
            x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1).relu()
        for branch, name in (("softmax", "SPG_A4"), ("sigmoid", "SPG_A4_2")):
            expected = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"]).mean((-2, -1))
            torch.testing.assert_close(net.head(branch)(net.features(IMAGES)), expected, rtol=1e-4, atol=1e-5)  # type: ignore[arg-type]


def test_imagenet_weights_in_a_gap_network(tmp_path: Path) -> None:
    torch.save(_vgg_keys(), tmp_path / "vgg16.pth")
    net, account = open_checkpoint("vgg16_gap", tmp_path / "vgg16.pth", num_classes=200)
    assert (net.num_classes, net.needs_training, account.branches) == (200, True, ())
    assert set(account.missing) == {
        *(f"body.conv6.{p}" for p in ("weight", "bias")),
        *(f"heads.softmax.linear.{p}" for p in ("weight", "bias")),
    }
    assert set(account.unused) == {f"classifier.{i}.{p}" for i in (0, 3, 6) for p in ("weight", "bias")}
    assert (net.state_dict()["body.features.0.weight"] == 0.5).all()
    again, _ = open_checkpoint("vgg16_gap", tmp_path / "vgg16.pth", num_classes=200)
    assert torch.equal(net.state_dict()["body.conv6.weight"], again.state_dict()["body.conv6.weight"]), "seeded"
    text = account.text()
    assert "26 keys used" in account.summary()
    assert "unused (6), the ImageNet network's own classifier; this network has another: classifier.0.weight" in text
    assert "missing (4), fresh parameters, to be trained: heads.softmax.linear.weight" in text
    for line in (
        "used     features.0.weight -> body.features.0.weight",
        "unused   classifier.6.bias (the ImageNet network's own classifier; this network has another)",
        "missing  body.conv6.bias",
    ):
        assert line in text.splitlines()


def test_file_of_this_package(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = BACKBONES.get("vgg16_gap").build(4)
    net.heads["sigmoid"] = net.head().fresh(torch.Generator().manual_seed(1))
    save_state(tmp_path / "own.safetensors", net.state_dict(), {})
    opened, account = open_checkpoint("vgg16_gap", tmp_path / "own.safetensors")
    assert all(torch.equal(v, opened.state_dict()[k]) for k, v in net.state_dict().items())
    assert all(theirs == ours for theirs, ours in account.used.items())
    assert (account.missing, account.unused) == ((), {})


def without(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.startswith(prefixes)}


def changed(state: dict[str, Tensor], key: str, value: Tensor) -> dict[str, Tensor]:
    return {**state, key: value}


BAD: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "classes": (lambda s: s, r"1000 classes, expected 200.*another data set"),
    "branches": (
        lambda s: {**s, "fc2.weight": torch.zeros(7, 2048), "fc2.bias": torch.zeros(7)},
        r"two branches.*softmax 1000, sigmoid 7",
    ),
    "classifier by another name": (
        lambda s: without(s, "fc.") | {"head.weight": torch.zeros(7, 2048), "head.bias": torch.zeros(7)},
        r"head\.weight is a classifier by another name: rename it to fc\.weight, and its bias to fc\.bias",
    ),
    "half": (lambda s: without(s, "layer4.2."), r"do not fit resnet50\. missing: body\.layer4\.2\.conv1\.weight"),
    "no bias": (lambda s: without(s, "fc.bias"), r"missing: heads\.softmax\.linear\.bias"),
    "shape": (
        lambda s: changed(s, "conv1.weight", torch.zeros(64, 3, 3, 3)),
        r"of another shape: body\.conv1\.weight \(64, 3, 3, 3\), expected \(64, 3, 7, 7\)",
    ),
    "nan": (
        lambda s: changed(s, "bn1.weight", torch.full((64,), torch.nan)),
        r"NaN or infinite values in body\.bn1\.weight",
    ),
    "sparse": (
        lambda s: changed(s, "bn1.weight", torch.eye(64)[0].to_sparse()),
        r"no dense real tensors: body\.bn1\.weight",
    ),
    "meta": (
        lambda s: changed(s, "bn1.weight", torch.empty(64, device="meta")),
        r"no dense real tensors: body\.bn1\.weight",
    ),
    "sigmoid without bias": (
        lambda s: {**s, "fc2.weight": torch.zeros(1000, 2048)},
        r"missing: heads\.sigmoid\.linear\.bias",
    ),
    "twice": (lambda s: {**s, "body.conv1.weight": torch.zeros(64, 3, 7, 7)}, "two keys name the parameter"),
    "other network": (lambda s: {"features.0.weight": torch.zeros(64, 3, 3, 3)}, r"missing: .*unused: features\.0"),
}


@pytest.mark.parametrize("case", BAD)
def test_refused(tmp_path: Path, resnet_keys: dict[str, Tensor], case: str) -> None:
    spoil, message = BAD[case]
    file = published(tmp_path, spoil(resnet_keys))
    with pytest.raises(WeightsError, match=message):
        open_checkpoint("resnet50", file, num_classes=200 if case == "classes" else None)


def test_classifier_without_the_layer_before_it(tmp_path: Path) -> None:
    state = without(tiny(PublishedVggGap(VGG_14, 6, second=False).state_dict()), "conv6.")
    with pytest.raises(WeightsError, match=r"classifier but not the layers before it \(body\.conv6\)"):
        open_checkpoint("vgg16_gap", published(tmp_path, state))


def test_no_layout(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="slim_vgg: no layout"):
        open_checkpoint("slim_vgg", tmp_path / "x.pth")


class Hostile:
    """Pickles to a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def test_hostile_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {"fc.weight": Hostile(tmp_path / "trace")}}, tmp_path / "bad.pth.tar")
    with pytest.raises(WeightsError, match="would run code"):
        open_checkpoint("resnet50", tmp_path / "bad.pth.tar")
    assert not (tmp_path / "trace").exists()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of downloads, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)

    def unreachable(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("name", "file"),
    [("resnet50", "resnet50-0676ba61.pth"), ("inception_v3_gap_28", "inception_v3_google-0cc3c7bd.pth")],
)
def test_unreachable_hub(hub: Path, name: str, file: str) -> None:
    with pytest.raises(WeightsError, match=rf"{name}: torchvision cannot fetch .*no network") as caught:
        open_backbone(name)
    for part in (f"https://download.pytorch.org/models/{file}", str(hub), "--weights FILE", "--no-pretrained"):
        assert part in str(caught.value)


def test_pretrained_through_torchvision(hub: Path, resnet_keys: dict[str, Tensor]) -> None:
    torch.save(resnet_keys, hub / "resnet50-0676ba61.pth")
    net = open_backbone("resnet50")
    assert (net.num_classes, net.needs_training) == (1000, False)
    assert net.weights_source == "torchvision ResNet50_Weights.IMAGENET1K_V1"
    assert (net.head().linear.weight == 0.5).all()
    assert (net.state_dict()["body.layer4.2.conv3.weight"] == 0.5).all()
    cub = open_backbone("resnet50", num_classes=200)
    assert (cub.num_classes, cub.needs_training) == (200, True)


def test_pretrained_inception_leaves_new_layers_fresh(hub: Path) -> None:
    with torch.device("meta"):
        keys = tiny(models.inception_v3(weights=None, aux_logits=True, init_weights=False).state_dict())
    torch.save(keys, hub / "inception_v3_google-0cc3c7bd.pth")
    net = open_backbone("inception_v3_gap")
    assert (net.num_classes, net.needs_training) == (1000, True)
    assert (net.state_dict()["body.Mixed_6e.branch_pool.conv.weight"] == 0.5).all()
    assert net.state_dict()["body.conv7_1.0.weight"].std() > 0
    assert not open_backbone("inception_v3").needs_training


def test_hostile_download_is_not_run(hub: Path, tmp_path: Path) -> None:
    torch.save({"fc.weight": Hostile(tmp_path / "trace")}, hub / "resnet50-0676ba61.pth")
    with pytest.raises(WeightsError, match="UnpicklingError"):
        open_backbone("resnet50")
    assert not (tmp_path / "trace").exists()


def test_the_account_says_whether_the_file_fits(tmp_path: Path, resnet_keys: dict[str, Tensor]) -> None:
    whole = published(tmp_path, resnet_keys)
    assert account_of("resnet50", whole).refused == ""
    broken = {k: v for k, v in resnet_keys.items() if k != "layer4.2.conv3.weight"}
    account = account_of("resnet50", published(tmp_path, broken))
    assert "missing: body.layer4.2.conv3.weight" in account.refused
    assert "missing (1): body.layer4.2.conv3.weight\nrefused: " in account.summary()
    assert "fresh" not in account.summary()
    wide = {**resnet_keys, "conv1.weight": torch.zeros(32, 3, 7, 7)}
    assert (
        "body.conv1.weight (32, 3, 7, 7), expected (64, 3, 7, 7)"
        in account_of("resnet50", published(tmp_path, wide)).refused
    )
    assert (
        "they have a classifier but not the layers before it"
        in account_of(
            "vgg16_gap",
            published(tmp_path, {**_vgg_keys(), "fc.weight": torch.zeros(6, 1024), "fc.bias": torch.zeros(6)}),
        ).refused
    )


def _vgg_keys() -> dict[str, Tensor]:
    with torch.device("meta"):
        return tiny(models.vgg16(weights=None, init_weights=False).state_dict())
