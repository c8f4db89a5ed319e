"""timm networks of different layout, random weights: same logits as timm's own forward, gradients, refusals."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.backbones.timm.create import create
from cambench.baselines.backbones.timm.families import refusal
from cambench.baselines.backbones.timm.net import TimmBackbone, TimmLayout, UnsupportedNetworkError
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import raw_map
from cambench.baselines.weights.weight_files import WeightsError

# name: (head kind, F ≥ 0, feature layer, shape of the map)
NETWORKS = {
    "resnet18": ("gap_linear", True, "layer4.1.act2", (512, 7, 7)),
    "convnext_atto": ("other", False, "stages.3.blocks.1", (320, 7, 7)),
    "mobilenetv3_small_050": ("other", False, "blocks.5.0.bn1.act", (288, 7, 7)),
    "densenet121": ("gap_linear", True, "features.norm5.act", (1024, 7, 7)),
    "regnetx_002": ("gap_linear", True, "s4.b7.act3", (368, 7, 7)),
    "efficientnet_b0": ("gap_linear", False, "bn2.act", (1280, 7, 7)),
    "swin_tiny_patch4_window7_224": ("gap_linear", False, "norm", (768, 7, 7)),
    "mixer_s32_224": ("gap_linear", False, "norm", (512, 7, 7)),
    "vit_little_patch16_reg1_gap_256": ("other", False, "blocks.13", (320, 16, 16)),
}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", NETWORKS)
def test_split_network_is_timms_network(name: str, images: Tensor) -> None:
    kind, nonnegative, layer, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=10).eval()
    whole = copy.deepcopy(model)
    net = TimmBackbone(model, f"timm:{name}").freeze()
    with torch.no_grad():
        expected, features = whole(net.at_own_size(images)), net.features(images)
        torch.testing.assert_close(net(images), expected, rtol=1e-5, atol=1e-5)
    assert (net.head_kind, net.nonnegative, net.feature_layer) == (kind, nonnegative, layer)
    assert tuple(features.shape[1:]) == shape
    assert bool((features >= 0).all()) or not nonnegative
    assert net.mean.flatten().tolist() == pytest.approx(whole.pretrained_cfg["mean"])
    assert net.std.flatten().tolist() == pytest.approx(whole.pretrained_cfg["std"])
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in whole.parameters()), (
        "none lost or doubled"
    )

    kept = features.clone()
    evidence = Evidence(features, net.head(), torch.tensor([3, 8]), ("a", "b"))
    step = 1e-2 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    slope = (evidence.score_features(features + step) - evidence.score_features(features - step)) / 2
    torch.testing.assert_close((evidence.gradients * step).sum((1, 2, 3)), slope, rtol=0.05, atol=1e-5)
    for cam in CAMS.names():
        if supports(CAMS.get(cam), net) is None and not CAMS.get(cam).expensive:
            made = raw_map(CAMS.get(cam), evidence, clamp=False)
            assert made.shape == (2, *shape[1:])
            assert torch.isfinite(made).all(), cam
    assert torch.equal(features, kept), "an in-place activation of the head changed the shared features"


@pytest.mark.parametrize(
    ("name", "size", "grid"),
    [
        *(("vit_tiny_patch16_384", 384, 24), ("vit_tiny_patch16_224", None, 14)),
        *(("resnet10t", None, 7), ("efficientnet_b4", None, 7)),
        pytest.param("vit_small_patch14_dinov2", 518, 37, marks=pytest.mark.slow),
    ],
)
def test_a_network_of_one_size_runs_at_it(name: str, size: int | None, grid: int, images: Tensor) -> None:
    net = open_backbone(f"timm:{name}", num_classes=10, pretrained=False)
    assert (net.input_size, net.grid) == (size, (grid, grid))
    torch.manual_seed(0)
    whole = timm.create_model(name, pretrained=False, num_classes=10).eval()
    torch.manual_seed(0)
    same = TimmBackbone(timm.create_model(name, pretrained=False, num_classes=10), name).freeze()
    side = size or 224
    shown = nn.functional.interpolate(images, (side, side), mode="bilinear", antialias=True)
    with torch.no_grad():
        torch.testing.assert_close(same(images), whole(shown if size else images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "convnext_atto"])
def test_other_classes(name: str, images: Tensor) -> None:
    net = open_backbone(f"timm:{name}", num_classes=7, pretrained=False)
    assert net(images).shape == (2, 7)
    assert net.needs_training
    assert net.head().fresh(num_classes=4)(net.features(images)).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("crossvit_9_240", "forward_features returns a list"),
        ("coat_tiny", "returns a list, not one feature map"),
        ("coat_lite_tiny", "class token.*its last block does not begin with one normalisation"),
        ("halonet26t", r"does not take images of 224×224 pixels \(AssertionError\)"),
    ],
)
def test_networks_without_one_map_are_refused(name: str, reason: str) -> None:
    with pytest.raises(UnsupportedNetworkError, match=f"timm:{name} is not supported: .*{reason}"):
        TimmBackbone(create(name, pretrained=False), f"timm:{name}")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("crossvit_9_240", "deit_tiny_patch16_224"),
        ("coat_lite_tiny.in1k", "coatnet_nano_rw_224"),
        ("halonet26t", "botnet26t_256"),
        ("vit_base_patch16_18x2_224", "vit_small_patch16_224"),
        ("qwen3_vit_88m_enc", "deepseek_vit_412m"),
    ],
)
def test_a_network_known_to_be_refused_is_not_built_and_its_nearest_named(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not timm.is_model(name.partition(".")[0]):
        pytest.skip("this timm has no such network")
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: pytest.fail("built"))
    with pytest.raises(UnsupportedNetworkError, match=f"nearest: timm:{nearest}$"):
        open_backbone(f"timm:{name}", pretrained=False)
    assert timm.is_model(nearest)
    assert refusal(nearest) is None


def test_weights_file_in_timms_names(tmp_path: Path, images: Tensor) -> None:
    torch.manual_seed(9)
    model = timm.create_model("regnetx_002", pretrained=False, num_classes=7).eval()
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, tmp_path / "r.pth")
    net = open_backbone("timm:regnetx_002", weights=tmp_path / "r.pth")
    assert (net.num_classes, net.needs_training, net.weights_source) == (7, False, "file r.pth")
    with torch.no_grad():
        torch.testing.assert_close(net(images), model(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(WeightsError, match=r"do not fit .*missing"):
        open_backbone("timm:resnet18", weights=tmp_path / "r.pth")


def test_weights_file_that_cambench_wrote(tmp_path: Path, images: Tensor) -> None:
    net = open_backbone("timm:regnetx_002", num_classes=7, pretrained=False)
    torch.save(net.state_dict(), tmp_path / "r.pth")
    again = open_backbone("timm:regnetx_002", weights=tmp_path / "r.pth")
    assert not again.needs_training
    assert torch.equal(again(images), net(images))


def test_pretrained_weights_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **kwargs: object) -> object:
        raise OSError("offline")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(WeightsError, match=r"timm:resnet18: .*offline.*--weights FILE"):
        open_backbone("timm:resnet18")


@pytest.mark.parametrize(
    "layout", [TimmLayout("nchw"), TimmLayout("nhwc"), TimmLayout("tokens"), TimmLayout("tokens", 2)]
)
def test_layouts_are_inverted(layout: TimmLayout) -> None:
    features = torch.randn(2, 5, 3, 3)
    raw = layout.restore(features)
    assert torch.equal(layout.feature_map(raw), features)
    if layout.kind == "tokens":
        assert raw.shape == (2, layout.prefix + 9, 5)
        assert torch.equal(raw[1, layout.prefix + 3 * 2 + 1], features[1, :, 2, 1]), "row-major patches"
