"""Eigen-CAM."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam
from .eigen import first_component


@register_cam(
    "eigencam",
    title="Eigen-CAM",
    source="Muhammad & Yeasin, IJCNN 2020",
    needs=("features",),
    headless=True,
    nonnegative_weights=True,
    cost="1 forward; one eigenvector of a min(N, PQ)² matrix an image",
)
def eigen_cam(e: Evidence) -> Tensor:
    """w = v, the first right singular vector of the uncentred features (cells × channels), so M = F·v; (B,N,1,1).

    The class plays no part. Sign: the sum of M is not negative; with F ≥ 0 every v_i ≥ 0 (Perron-Frobenius).
    pytorch-grad-cam centres each channel first, which the paper does not, and leaves the sign to the linear-algebra
    library.
    """
    return first_component(e.features).to(e.features.dtype)[:, :, None, None]
