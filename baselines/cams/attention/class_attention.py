"""From attention among tokens to a map over patches."""

from torch import Tensor

from ..evidence import Evidence


def patch_attention(e: Evidence, attention: Tensor) -> Tensor:
    """Map (B,P,Q) of attention (B,T,T): what the deciding token reads from each patch.

    That is the class token's row where it decides, else the mean of the patches' rows.
    """
    prefix = e.backbone.prefix_tokens
    rows = attention[:, 0] if e.backbone.class_token else attention[:, prefix:].mean(1)
    return rows[:, prefix:].reshape(len(rows), *e.features.shape[-2:])
