"""SPG's own map."""

from torch import Tensor

from ...wsol import class_map
from ..evidence import Evidence
from ..method import register_cam
from .trained_networks import only_of


@register_cam(
    "spgmap",
    title="SPG's map",
    source="Zhang et al., ECCV 2018; as in Choe et al., CVPR 2020",
    needs=("features", "images"),
    returns="map",
    heads=("softmax",),
    cost="1 forward",
    named=True,
    refuses=only_of("spg", "spgmap"),
    nearest=("cam",),
)
def spg_own_map(e: Evidence) -> Tensor:
    """M = the class's channel of the last 1×1 convolution, bias included; (B,P,Q).

    Without the sign rule it equals CAM after min-max; with a ReLU the bias decides which cells are zero.
    """
    return class_map(e.backbone, e.features, e.target)
