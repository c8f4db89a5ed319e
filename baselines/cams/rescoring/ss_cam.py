"""SS-CAM."""

from torch import Tensor

from ....hashing import normals
from ..evidence import Evidence
from ..method import register_cam
from .masking import channel_weights

SAMPLES, SIGMA = 35, 2.0
"""Noisy masks a channel and their noise (torch-cam's defaults)."""


@register_cam(
    "sscam",
    title="SS-CAM",
    source=f"Wang et al., 2020 (arXiv 2006.14255), SS-CAM(1); {SAMPLES} samples, σ = {SIGMA:g}, seeded by image id",
    needs=("features", "images", "rescoring"),
    nonnegative_weights=True,
    nonnegative_always=True,
    cost=f"1 + {SAMPLES}·N forwards",
    expensive=True,
)
def ss_cam(e: Evidence) -> Tensor:
    """w = softmax over channels of the target's logit on (H_i + δ) ⊙ x, averaged over δ ~ N(0, σ²); (B,N,1,1).

    H_i as in Score-CAM; δ a value for each pixel, a function of the image's id, the channel and the sample alone.
    """
    count, (height, width) = e.features.shape[1], e.images.shape[-2:]

    def noisy(masks: Tensor, channels: Tensor, sample: int) -> Tensor:
        noise = normals(e.seeds[:, None], channels + sample * count, height * width, masks.dtype)
        return noise.view_as(masks).mul_(SIGMA).add_(masks)

    return channel_weights(e, SAMPLES, noisy)
