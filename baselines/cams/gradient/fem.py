"""FEM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam

SIGMAS = 2.0
"""Standard deviations above a channel's mean from which on a cell stands out (the paper's K)."""


@register_cam(
    "fem",
    title="FEM",
    source=f"Fuad et al., Feature Explanation Method, IPTA 2020; K = {SIGMAS:g}",
    needs=("features",),
    returns="map",
    headless=True,
    named=True,
    cost="1 forward",
)
def fem(e: Evidence) -> Tensor:
    """M = Σ_i μ_i·[F_i > μ_i + 2·σ_i], μ_i and σ_i the mean and standard deviation of channel i's cells; (B,P,Q).

    The class plays no part. A binary map of each channel is weighted by the channel's mean, as in the paper;
    pytorch-grad-cam weights the channel itself by the share of its cells that stand out. σ is that of the cells, not an
    estimate from a sample.
    """
    cells = e.features.flatten(2)
    mean, spread = cells.mean(2, keepdim=True), cells.std(2, keepdim=True, correction=0)
    return (mean * (cells > mean + SIGMAS * spread)).sum(1).view(len(cells), *e.features.shape[-2:])
