"""ViT-ReciproCAM."""

from torch import Tensor

from ...contracts import Backbone
from ..evidence import Evidence
from ..method import register_cam
from .recipro_cam import cell_scores


def _refuses(backbone: Backbone) -> str | None:
    if backbone.class_token:
        return None
    return f"vit_reciprocam masks patch tokens beside a class token that decides, and {backbone.name} has none"


@register_cam(
    "vit_reciprocam",
    title="ViT-ReciproCAM",
    source="Byun & Lee, 2023 (arXiv 2310.02588); 3×3 Gaussian masks, the class token kept",
    needs=("features", "rescoring"),
    returns="map",
    cost="1 forward + P·Q head forwards",
    expensive=True,
    refuses=_refuses,
    nearest=("reciprocam",),
)
def vit_recipro_cam(e: Evidence) -> Tensor:
    """M(p,q) = f(class token, F ⊙ m_pq) − min, m_pq the 3×3 Gaussian at patch (p,q), cut at the border; (B,P,Q).

    F are the patch tokens behind the last block's first normalisation, f the activated score of what follows, as for
    Recipro-CAM. The class token, and what the block adds to, stay as they are; the authors' OpenVINO code adds to the
    normalised tokens instead, which is another network. float64.
    """
    return cell_scores(e)
