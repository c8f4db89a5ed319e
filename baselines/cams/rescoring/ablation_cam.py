"""Ablation-CAM."""

import torch
from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam


@register_cam(
    "ablationcam",
    title="Ablation-CAM",
    source="Desai & Ramaswamy, WACV 2020, without its division by the logit",
    needs=("features", "rescoring"),
    cost="1 forward + N head forwards; none of the head on a pooling + linear head",
    expensive=True,
)
def ablation_cam(e: Evidence) -> Tensor:
    """w_i = y − y_i, y_i the target's logit when channel i is zero; (B,N,1,1).

    Features are re-scored through the head alone. On a pooling + linear head y − y_i = w_i·pooled(F_i), in closed form.
    The paper divides by y: for y > 0 a factor that min-max removes; for y < 0, common among sigmoid logits, it would
    turn evidence into counter-evidence, and for y = 0 into NaN. pytorch-grad-cam divides.
    """
    features = e.features
    if (scores := e.channel_scores) is not None:
        return scores
    scored, batch = e.scored_channels, len(features)
    chosen = e.logits.gather(1, e.target[:, None])
    scores = torch.empty_like(chosen.expand(scored.shape), memory_format=torch.contiguous_format)
    step = e.copies(features)
    for start in range(0, scored.shape[1], step):
        channels = scored[:, start : start + step]
        ablated = features[:, None].repeat(1, channels.shape[1], 1, 1, 1)
        ablated.scatter_(2, channels[:, :, None, None, None].expand(-1, -1, -1, *features.shape[-2:]), 0)
        scores[:, start : start + step] = e.score_features(ablated.flatten(0, 1)).view(batch, -1)
    return e.over_all_channels(chosen - scores).to(features.dtype)
