"""What is known of timm's model families without building a model: how their feature maps lie, which cannot be used.

Measured by splitting the smallest model of every family (``tests/baselines/test_timm_families.py``).
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
    "coat": "several maps of tokens reach the head",
    "crossvit": "two maps of tokens reach the head",
    "efficientvim": "several states reach the head",
    "tnt": "its last block mixes pixel and patch embeddings",
}
_REFUSED_MODELS = re.compile(r"vit_.*_18x2_\d+$")
"""Parallel blocks, which have no first normalisation."""


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
        refused = _REFUSED.get(family, "")
        if not refused and family == "vision_transformer" and _REFUSED_MODELS.match(name):
            refused = "its last block runs layers in parallel"
        classes = config.num_classes if config is not None else 0
        models.append(
            TimmModel(name, family, _LAYOUTS.get(family, "NCHW"), classes, tuple(tags.get(name, ())), refused)
        )
    return models
