"""TS-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .class_attention import patch_attention


@register_cam(
    "tscam",
    title="TS-CAM",
    source="Gao et al., ICCV 2021; the token-semantic head on a frozen network",
    needs=("features", "images", "attention"),
    returns="map",
    heads=("token_semantic",),
    cost="2 forwards + 1 head forward",
    expensive=True,
)
def ts_cam(e: Evidence) -> Tensor:
    """M = (1/L Σ_l A_l[class token, patches]) ⊙ S_c, S_c the token-semantic head's map of the target class; (B,P,Q).

    A_l is the mean over heads of layer l's attention. The paper fine-tunes the whole network with the head; here, as
    for every other branch, the head alone is trained, and the softmax branch decides the class.
    """
    semantic = e.head.class_maps(e.features, e.target)
    if semantic is None:
        raise TypeError(f"a {e.head.kind!r} head makes no class maps; TS-CAM needs the head token_semantic")
    return patch_attention(e, e.attention.mean(0)) * semantic.detach()
