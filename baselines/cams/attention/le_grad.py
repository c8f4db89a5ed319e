"""LeGrad."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...contracts import Backbone
from ...probes.attention import attention_layers, differentiable_attention
from ..evidence import Evidence
from ..method import register_cam


def _refuses(backbone: Backbone) -> str | None:
    why = backbone.lacks("layer_logits")
    return why and f"legrad reads logits from the tokens of every block, and {backbone.name} gives none: {why}"


@register_cam(
    "legrad",
    title="LeGrad",
    source="Bousselham et al., ICCV 2025 (arXiv 2404.03214); all layers",
    needs=("images", "attention"),
    returns="map",
    cost="2 forwards + 1 backward",
    expensive=True,
    refuses=_refuses,
    nearest=("rollout",),
)
def le_grad(e: Evidence) -> Tensor:
    """M = 1/L Σ_l mean over heads and queries of relu(∂y_l/∂A_l), the columns of the patches; (B,P,Q).

    y_l is the target's logit that the final normalisation and the head read from the tokens of layer l, A_l the
    layer's attention. Each gradient stays within its layer. The head pools as it does for the last layer (class token,
    or average); the authors' code averages all tokens even where the class token decides, and takes the last layers
    only.
    """
    blocks = e.backbone.token_blocks(e.whole_head)
    total = e.features.new_zeros(len(e.target), 1)
    with differentiable_attention(attention_layers(blocks)) as attention:

        def close(_: nn.Module, __: object, tokens: Tensor) -> Tensor:
            nonlocal total
            chosen = e.backbone.layer_logits(tokens, e.whole_head).gather(1, e.target[:, None]).sum()
            (gradient,) = torch.autograd.grad(chosen, attention.pop())
            total = total + gradient.clamp_min(0).mean((1, 2))
            # The next layer begins a graph of its own: no more than one layer's is held.
            return tokens.detach()

        handles = [block.register_forward_hook(close) for block in blocks]
        try:
            e.whole_head(e.backbone.features(e.images))
        finally:
            for handle in handles:
                handle.remove()
    return (total / len(blocks))[:, e.backbone.prefix_tokens :].reshape(len(total), *e.features.shape[-2:])
