"""Hide-and-Seek."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from .wsol_method import Range, WsolMethod, register_wsol


@register_wsol("has", title="HaS", source="Singh & Lee, Hide-and-Seek, ICCV 2017; as in Choe et al., CVPR 2020")
class HideAndSeek(WsolMethod):
    """Each cell of a grid over the normalised image is set to 0, the mean colour, with probability ``drop_rate``.

    One draw a cell and image, in training only. The cells at the right and bottom edges are the rest of the image. The
    paper hides with the data set's mean and mixes grid sizes.
    """

    search: ClassVar[Mapping[str, Range]] = {"grid_size": (1, 56), "drop_rate": (0.0, 1.0)}
    grid_size: int = Field(default=4, ge=1)
    """Side of a cell in pixels."""
    drop_rate: float = Field(default=0.5, ge=0, le=1)

    def change_batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B,3,S,S) with hidden cells; labels as they are."""
        return images * kept_pixels(images, self.grid_size, self.drop_rate), labels


def kept_pixels(images: Tensor, grid_size: int, drop_rate: float) -> Tensor:
    """(B,1,H,W): 1 in the cells that are kept, 0 in the hidden ones."""
    batch, _, height, width = images.shape
    rows, columns = -(-height // grid_size), -(-width // grid_size)
    kept = (torch.rand((batch, 1, rows, columns), device=images.device) >= drop_rate).to(images.dtype)
    return kept.repeat_interleave(grid_size, 2).repeat_interleave(grid_size, 3)[..., :height, :width]
