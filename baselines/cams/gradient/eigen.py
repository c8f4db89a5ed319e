"""First right singular vector of a batch of matrices cells × channels, with a sign that no library decides."""

import torch
from torch import Tensor


def first_component(channels: Tensor) -> Tensor:
    """v (B,N), float64: the unit vector with the largest ‖O·v‖, O the (P·Q, N) matrix of channels (B,N,P,Q).

    Sign: Σ_cells (O·v) ≥ 0, so that the projection is not negative on the whole. Where that sum vanishes, the cell of
    largest magnitude is positive (the first one on a tie). O is not centred. v is zero where O is. From the smaller of
    OᵀO and OOᵀ, in float64, so that a singular value decomposition's own conventions never show.
    """
    matrix = channels.flatten(2).double()
    # The Gram matrix squares the entries: scale first, so that large or tiny features neither overflow nor vanish.
    largest = matrix.abs().amax((1, 2), keepdim=True)
    matrix = matrix / torch.where(largest > 0, largest, 1)
    if matrix.shape[1] <= matrix.shape[2]:
        vector = torch.linalg.eigh(matrix @ matrix.mT).eigenvectors[..., -1]
    else:
        cells = torch.linalg.eigh(matrix.mT @ matrix).eigenvectors[..., -1]
        vector = (matrix @ cells[..., None])[..., 0]
    length = vector.norm(dim=1, keepdim=True)
    vector = vector / torch.where(length > 0, length, 1)
    projection = (vector[:, None] @ matrix)[:, 0]
    largest_cell = projection.abs().argmax(1, keepdim=True)
    peak, total = projection.gather(1, largest_cell), projection.sum(1, keepdim=True)
    sign = torch.where(total.abs() > TIE * peak.abs(), total, peak).sign()
    return torch.where(largest[..., 0] > 0, vector * sign, 0)


TIE = 1e-9
"""Sum of the projection, relative to its largest cell, up to which rounding alone could decide the sign."""
