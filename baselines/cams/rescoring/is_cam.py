"""IS-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .masking import channel_weights

STEPS = 10
"""Steps of the integral (torch-cam's default)."""


@register_cam(
    "iscam",
    title="IS-CAM",
    source=f"Naidu et al., 2020 (arXiv 2010.03023); {STEPS} steps",
    needs=("features", "images", "rescoring"),
    nonnegative_weights=True,
    nonnegative_always=True,
    cost=f"1 + {STEPS}·N forwards",
    expensive=True,
)
def is_cam(e: Evidence) -> Tensor:
    """w = softmax over channels of the target's logit on (j/n)·H_i ⊙ x, averaged over j = 1 … n; (B,N,1,1).

    H_i as in Score-CAM. torch-cam adds the factors j/n up, to (n + 1)/2 = 5.5 times the image, which is no longer a
    point between the black and the masked image; here the path is the straight line of Integrated Gradients.
    """
    return channel_weights(e, STEPS, lambda masks, _channels, step: masks * ((step + 1) / STEPS))
