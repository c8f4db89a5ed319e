"""The list of timm's models: what it says of a family is what a model of the family does."""

from __future__ import annotations

import pytest
import timm
import torch
from rich.console import Console

import cambench
from cambench.baselines.backbones.timm.create import create
from cambench.baselines.backbones.timm.families import timm_models
from cambench.baselines.backbones.timm.net import TimmBackbone, UnsupportedNetworkError
from cambench.bench.cli.ls import show
from cambench.bench.host.errors import UsageError

# Where no name says so, the smallest model of the family (or one that is small enough).
SMALL = {
    "beit": "beit_base_patch16_224", "byoanet": "eca_botnext26ts_256", "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224", "coat": "coat_lite_tiny", "convit": "convit_tiny", "convnext": "test_convnext",
    "cspnet": "cs3darknet_focus_s", "davit": "davit_tiny", "deit": "deit_tiny_distilled_patch16_224",
    "densenet": "densenet121", "edgenext": "edgenext_xx_small", "efficientformer": "efficientformer_l1",
    "efficientnet": "test_efficientnet", "efficientvim": "efficientvim_m1", "eva": "eva02_tiny_patch14_224",
    "focalnet": "focalnet_tiny_srf", "hgnet": "hgnetv2_b0", "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny", "inception_next": "inception_next_atto", "levit": "levit_128s",
    "mambaout": "test_mambaout", "maxxvit": "maxvit_pico_rw_256", "mlp_mixer": "gmixer_12_224",
    "mobilenetv3": "mobilenetv3_small_050", "mvitv2": "mvitv2_tiny", "nest": "nest_tiny", "nfnet": "test_nfnet",
    "pit": "pit_ti_224", "regnet": "regnetx_002", "resnet": "test_resnet",
    "sequencer": "sequencer2d_s", "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256", "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tnt": "tnt_s_patch16_224", "twins": "twins_svt_small", "vgg": "vgg11", "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "vit_srelpos_small_patch16_224", "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224", "xcit": "xcit_nano_12_p16_224", "crossvit": "crossvit_tiny_240",
}  # fmt: skip


def test_listed_by_glob_without_what_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object, **__: object) -> None:
        raise AssertionError("listing builds no model")

    monkeypatch.setattr(timm, "create_model", build)
    found = {m.name: m for m in timm_models()}
    assert len(found) == len(timm.list_models()) > 1000
    assert (found["resnet50"].family, found["resnet50"].layout, found["resnet50"].classes) == ("resnet", "NCHW", 1000)
    assert "a1_in1k" in found["resnet50"].pretrained
    assert found["vit_small_patch14_dinov2"].layout == "tokens"
    assert found["swin_tiny_patch4_window7_224"].layout == "NHWC"
    listed = cambench.list_backbones("timm:*")
    assert "timm:resnet50" in listed
    assert not any("coat_tiny" in n or "crossvit" in n for n in listed)
    assert cambench.list_backbones("timm:vit_tiny_r*") == ["timm:vit_tiny_r_s16_p8_224", "timm:vit_tiny_r_s16_p8_384"]


def test_a_pattern_of_nothing_but_refused_models_says_why() -> None:
    with pytest.raises(UsageError, match=r"timm:crossvit_9_240 cannot be used: two maps .*\(and \d+ more like it\)"):
        show(Console(), "backbones", "timm:crossvit_*", verbose=False)


@pytest.mark.slow
@pytest.mark.parametrize("family", SMALL)
def test_a_family_is_what_the_list_says(family: str) -> None:
    (listed,) = timm_models(SMALL[family])
    torch.manual_seed(0)
    model = create(SMALL[family], pretrained=False, num_classes=6)
    if listed.refused:
        with pytest.raises(UnsupportedNetworkError):
            TimmBackbone(model, family)
        return
    # Attention with positions, and windows, take the model's own size alone.
    built = getattr(getattr(model, "patch_embed", None), "img_size", None)
    images = torch.randn(1, 3, *(built or model.default_cfg["input_size"][1:]))
    with torch.no_grad():
        expected = model.eval()(images)
        net = TimmBackbone(model, family)
        net.freeze()
        torch.testing.assert_close(net(images), expected, rtol=1e-5, atol=1e-5)
    assert net.layout.kind == listed.layout.lower()
