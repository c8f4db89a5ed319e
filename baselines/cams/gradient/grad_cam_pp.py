"""Grad-CAM++."""

from torch import Tensor

from ..evidence import Evidence
from ..method import register_cam

EPS = 1e-6


@register_cam(
    "gradcam++",
    title="Grad-CAM++",
    source="Chattopadhay et al., WACV 2018 (arXiv 1710.11063, Eq. 19, as pytorch-grad-cam cites it)",
    nonnegative_weights=True,
)
def grad_cam_pp(e: Evidence) -> Tensor:
    """w_i = Σ relu(G_i)·α_i, α = G²/(2G² + ΣF·G³ + ε), 0 where G = 0; (B,N,1,1).

    ε = 1e-6, as in pytorch-grad-cam. It counts where |G| is below about 1e-3: there α falls with G².
    """
    gradients = e.gradients
    if e.constant_gradient is None:
        return _cells(gradients, e.feature_sums).sum((-2, -1), keepdim=True)
    # The same in every cell, so computed for one; the sum over all of them rounds as it does for any gradient.
    cell = _cells(gradients[:, :, :1, :1], e.feature_sums)
    return cell.expand_as(gradients).contiguous().sum((-2, -1), keepdim=True)


def _cells(gradients: Tensor, total: Tensor) -> Tensor:
    """relu(G)·α of gradients (B,N,p,q), with ΣF (B,N,1,1); in place where it can be, as memory is what it costs."""
    squared = gradients.square()
    below = (total * squared).mul_(gradients).add_(2 * squared).add_(EPS)
    return squared.div_(below).mul_(gradients).masked_fill_(~(gradients > 0), 0)
