"""Transformer attribution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...contracts import Backbone
from ...probes.attention import attention_layers, differentiable_attention
from ..evidence import Evidence
from ..method import register_cam
from .class_attention import patch_attention
from .relevance import recorded, through_block, through_linear, unruly

BUDGET = 2**28
"""Bytes of attention matrices of all layers that one group of images may hold; at least one image."""


def _refuses(backbone: Backbone) -> str | None:
    said = (
        f"transformer_attribution passes relevance from the class token back through plain blocks, and {backbone.name}"
    )
    if backbone.lacks("attention") is not None:
        return None
    if not backbone.class_token:
        return f"{said} has no class token that decides"
    head = backbone.head("softmax")
    if len(head.classifiers) != 1 or not isinstance(head.get_submodule(head.classifiers[0]), nn.Linear):
        return f"{said} has no single linear classifier"
    found = next((what for block in backbone.token_blocks(head) if (what := unruly(block)) is not None), None)
    return found and f"{said} has {found}"


@register_cam(
    "transformer_attribution",
    title="Transformer attribution",
    source="Chefer et al., CVPR 2021 (arXiv 2012.09838), Eqs. 5 to 14",
    needs=("images", "attention"),
    returns="map",
    heads=("softmax", "softmax_clamped", "sigmoid", "sigmoid_signed"),
    cost="2 + 4 forwards + 1 backward; four products with every weight matrix",
    expensive=True,
    refuses=_refuses,
    nearest=("legrad", "rollout"),
)
def transformer_attribution(e: Evidence) -> Tensor:
    """C = Π_l (I + E_heads[relu(∇A_l ⊙ R_l)]), last layer first; the class token's row over the patches; (B,P,Q).

    ∇A_l is the gradient of the target's logit by layer l's attention, R_l the relevance of the attention's softmax,
    propagated from a relevance of 1 at the logit. The paper's normalisation follows every sum and every product of two
    tensors; the authors' code halves the relevances of products instead. Sums of an image, where theirs are of a batch.
    """
    blocks = e.backbone.token_blocks(e.whole_head)
    layers = attention_layers(blocks)
    tokens = e.backbone.prefix_tokens + e.features.shape[-2] * e.features.shape[-1]
    heads = int(layers[0].num_heads)  # type: ignore[arg-type]
    group = max(1, BUDGET // (len(blocks) * heads * tokens**2 * e.images.element_size()))
    chunks = [_joint(e, slice(start, start + group), blocks) for start in range(0, len(e.images), group)]
    return patch_attention(e, torch.cat(chunks))


def _joint(e: Evidence, rows: slice, blocks: list[nn.Module]) -> Tensor:
    """C (B,T,T) of some of the images."""
    classifier = e.whole_head.get_submodule(e.whole_head.classifiers[0])
    assert isinstance(classifier, nn.Linear)
    target, read = e.target[rows, None], list[Tensor]()
    handle = classifier.register_forward_hook(lambda _, given, __: read.append(given[0].detach()))
    try:
        with recorded(blocks) as records, differentiable_attention(attention_layers(blocks)) as attention:
            logits = e.whole_head(e.backbone.features(e.images[rows]))
            gradients = torch.autograd.grad(logits.gather(1, target).sum(), attention)
    finally:
        handle.remove()
    one = torch.zeros_like(logits).scatter(1, target, 1)
    relevance = torch.zeros_like(records[-1].made[""])
    relevance[:, 0] = through_linear(read[0], classifier.weight, one)
    steps = []
    for record, gradient in zip(reversed(records), reversed(gradients), strict=True):
        relevance, of_attention = through_block(record, relevance)
        steps.append((gradient * of_attention).clamp_min(0).mean(1))
    identity = torch.eye(steps[0].shape[-1], dtype=steps[0].dtype, device=steps[0].device)
    joint = identity + steps[-1]
    for step in reversed(steps[:-1]):
        joint = (identity + step) @ joint
    return joint
