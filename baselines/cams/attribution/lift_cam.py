"""LIFT-CAM."""

import warnings

import torch
from torch import Tensor

from ...contracts import POOLED_LINEAR, Backbone
from ...probes.anatomy import LINEAR_OPS, head_anatomy
from ...probes.explained import explained_head
from ..evidence import Evidence
from ..method import Identity, register_cam
from .captum_calls import AFFINE, unfit
from .deep_lift import RULES, overlaps, with_own_inputs


def _refuses(backbone: Backbone) -> str | None:
    if backbone.head_kind in POOLED_LINEAR:
        return None
    found = head_anatomy(backbone)
    reason = unfit(backbone, (*AFFINE, *RULES), LINEAR_OPS, once=True, found=found)
    if reason is None and any(overlaps(m) for m in found.layers.values()):
        reason = f"{backbone.name} has max pooling with overlapping windows there"
    return reason and f"LIFT-CAM has DeepLIFT's rules for a head of affine and activation layers, and {reason}"


@register_cam(
    "liftcam",
    title="LIFT-CAM",
    source="Jung & Oh, ICCV 2021; DeepLIFT (rescale rule) from features of zero; through Captum",
    needs=("features", "head_gradients"),
    identities=(Identity("ablationcam", "gap_linear"),),
    named=True,
    cost="1 forward + 2 head forwards + 2 head backwards; none of the head on a pooling + linear head",
    requires="captum",
    refuses=_refuses,
    nearest=("ablationcam", "gradcam"),
)
def lift_cam(e: Evidence) -> Tensor:
    """w_i = Σ over the map of F_i ⊙ m_i, m DeepLIFT's multipliers from F = 0 to F for the target's logit; (B,N,1,1).

    An estimate of channel i's Shapley value, by one pass through the head. Completeness: Σ_i w_i = y(F) − y(0). On a
    pooling + linear head w_i = (class weight)·pooled(F_i) is the Shapley value itself, and that of Ablation-CAM.
    """
    if (scores := e.channel_scores) is not None:
        return scores
    from captum.attr import DeepLift

    head = explained_head(e.backbone, e.whole_head)
    with_own_inputs(head)
    with warnings.catch_warnings(), torch.enable_grad():
        # Captum announces its hooks on activations by a warning at every call.
        warnings.filterwarnings("ignore", message="Setting .*hooks")
        given = e.features.clone().requires_grad_()
        contributions: Tensor = DeepLift(head).attribute(given, baselines=0, target=e.target)
    return contributions.detach().sum((-2, -1), keepdim=True)
