"""ACoL's own map."""

from torch import Tensor

from ...wsol import acol_map
from ..evidence import Evidence
from ..method import register_cam
from .trained_networks import only_of


@register_cam(
    "acolmap",
    title="ACoL's map",
    source="Zhang et al., CVPR 2018; as in Choe et al., CVPR 2020",
    needs=("features", "images"),
    returns="map",
    heads=("softmax",),
    cost="2 forwards",
    named=True,
    refuses=only_of("acol", "acolmap"),
    nearest=("cam",),
)
def acol_own_map(e: Evidence) -> Tensor:
    """M = max(norm(A_k), norm(B_k)), the class maps of both classifiers, each min-max normalised; (B,P,Q).

    B sees the features without what A_k covers, with the threshold of the training.
    """
    return acol_map(e.backbone, e.images, e.target)
