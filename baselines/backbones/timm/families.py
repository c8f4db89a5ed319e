"""What is known of timm's model families without building a model: how their feature maps lie, which cannot be used.

Measured by splitting the smallest model of every family (``tests/baselines/backbones/test_timm_families.py``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKENS = (
    "beit cait convit deit efficientformer eva gemma4_vit hiera levit mlp_mixer mvitv2 naflexvit pit twins "
    "vision_transformer vision_transformer_hybrid vision_transformer_relpos vitamin volo xcit"
)
_NHWC = "deepseek_vit hieradet_sam2 mambaout qwen3_vit sequencer swin_transformer swin_transformer_v2"
_LAYOUTS = {**dict.fromkeys(_TOKENS.split(), "tokens"), **dict.fromkeys(_NHWC.split(), "NHWC")}
_REFUSED = {
    "coat": ("several maps of tokens reach the head", "coatnet_nano_rw_224"),
    "crossvit": ("two maps of tokens reach the head", "deit_tiny_patch16_224"),
    "efficientvim": ("several states reach the head", "efficientvit_m0"),
    "tnt": ("its last block mixes pixel and patch embeddings", "deit_tiny_patch16_224"),
}
"""Family -> why it cannot be used, and the nearest model that can."""
_HALO = "(eca_|se)?halone(t|xt).*|halo2botnet.*|lamhalobotnet.*|bat_resnext26ts"
_REFUSED_MODELS = {
    r"vit_.*_18x2_\d+": ("its last block runs layers in parallel", "vit_small_patch16_224"),
    _HALO: ("its attention needs maps that its blocks divide, not those of 224×224 pixels", "botnet26t_256"),
    r"(deepseek|qwen3|gemma4)_vit_.*_enc": ("it is an encoder without a classifier", "deepseek_vit_412m"),
}
"""Pattern of names -> the same, for models whose family can be used."""


def refusal(name: str) -> tuple[str, str] | None:
    """Why timm's model cannot be used, and the nearest one that can; None where no reason is known."""
    from timm.models import is_model, model_entrypoint

    name = name.partition(".")[0]
    if not is_model(name):
        return None
    by_family = _REFUSED.get(model_entrypoint(name).__module__.rpartition(".")[2])
    return by_family or next((why for p, why in _REFUSED_MODELS.items() if re.fullmatch(p, name)), None)


@dataclass(frozen=True)
class TimmModel:
    """A timm model as it is listed.

    Attributes:
        name: timm's name, without ``timm:``.
        family: timm's module.
        layout: ``NCHW``, ``NHWC`` or ``tokens``.
        classes: Classes of its first pretrained weights; 0 for a feature extractor.
        pretrained: Tags of its weights in timm's hub.
        refused: Why the model cannot be used; empty where it can.
    """

    name: str
    family: str
    layout: str
    classes: int
    pretrained: tuple[str, ...]
    refused: str


def timm_models(pattern: str = "*") -> list[TimmModel]:
    """timm's models that match a glob, in timm's order; no model is built."""
    import timm
    from timm.models import get_pretrained_cfg, model_entrypoint

    tags: dict[str, list[str]] = {}
    for full in timm.list_pretrained():
        name, _, tag = full.partition(".")
        tags.setdefault(name, []).append(tag or "default")
    models = []
    for name in timm.list_models(pattern):
        family = model_entrypoint(name).__module__.rpartition(".")[2]
        config = get_pretrained_cfg(name, allow_unregistered=True)
        refused, _ = refusal(name) or ("", "")
        classes = config.num_classes if config is not None else 0
        models.append(
            TimmModel(name, family, _LAYOUTS.get(family, "NCHW"), classes, tuple(tags.get(name, ())), refused)
        )
    return models
