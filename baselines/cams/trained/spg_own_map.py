"""SPG's own map."""

from torch import Tensor

from ...contracts import Backbone
from ...wsol import class_map, split_name
from ..evidence import Evidence
from ..method import register_cam


def _refuses(network: Backbone) -> str | None:
    if split_name(network.name)[1] == "spg":
        return None
    return f"spgmap is the map of networks that SPG trained (NETWORK+spg), and {network.name} is none"


@register_cam(
    "spgmap",
    title="SPG's map",
    source="Zhang et al., ECCV 2018; as in Choe et al., CVPR 2020",
    needs=("features", "images"),
    returns="map",
    heads=("softmax",),
    cost="1 forward",
    named=True,
    refuses=_refuses,
    nearest=("cam",),
)
def spg_own_map(e: Evidence) -> Tensor:
    """M = the class's channel of the last 1×1 convolution, bias included; (B,P,Q).

    Without the sign rule it equals CAM after min-max; with a ReLU the bias decides which cells are zero.
    """
    return class_map(e.backbone, e.features, e.target)
