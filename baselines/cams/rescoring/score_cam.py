"""Score-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .masking import channel_weights


@register_cam(
    "scorecam",
    title="Score-CAM",
    source="Wang et al., CVPR Workshops 2020",
    needs=("features", "images", "rescoring"),
    nonnegative_weights=True,
    nonnegative_always=True,
    cost="1 + N forwards",
    expensive=True,
)
def score_cam(e: Evidence) -> Tensor:
    """w = softmax over channels of the target's logit on H_i ⊙ x, H_i = min-max(resize(F_i)); (B,N,1,1).

    The baseline f(x_b) that the paper subtracts is the same for all channels and leaves the softmax unchanged. The
    score is the logit, as in pytorch-grad-cam and torch-cam. x is the normalised image (masked out = mean colour).
    """
    return channel_weights(e, 1, lambda masks, _channels, _sample: masks)
