"""The one box of a map at one threshold, for pictures; the scores take every threshold at once (``boxes``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from ...protocol import Protocol
from .kernels.levels import check_levels
from .localisation import levels_at
from .no_contour import reference_levels

EIGHT = np.ones((3, 3), dtype=bool)


def threshold_boxes(levels: Tensor, tau: float, protocol: Protocol | None = None) -> Tensor:
    """Box x0, y0, x1, y1 (B,4) int64 of the largest contour of every map at a threshold, in pixels of the map.

    The mask is {level > int(τ·peak)}; the contour is the one of largest polygon area (the first component in reading
    order wins a tie); right and bottom edges are exclusive, then clipped; [0, 0, 0, 0] where nothing is above.

    Args:
        levels: uint8 (B,H,W), see ``quantize``.
        tau: Threshold τ in [0, 1].
        protocol: Another one's ``loc_reference`` and ``no_contour`` in place of the peak and [0, 0, 0, 0].

    Raises:
        TypeError, ValueError: Levels of another dtype or shape; τ outside [0, 1].

    Examples:
        >>> levels = torch.zeros(1, 8, 8, dtype=torch.uint8)
        >>> levels[0, 2:5, 1:6] = 255
        >>> threshold_boxes(levels, 0.2).tolist()
        [[1, 2, 6, 5]]

    Source: wsolevaluation, ``compute_bboxes_from_scoremaps`` without ``multi_contour_eval``; SEMANTICS §3.
    """
    check_levels(levels)
    if not 0 <= tau <= 1:
        raise ValueError(f"threshold_boxes: expected a threshold in [0, 1], got {tau}")
    if not len(levels):
        return torch.zeros((0, 4), dtype=torch.int64)
    protocol = protocol or Protocol(name="paper")
    limits = levels_at(torch.tensor([tau], dtype=torch.float64), reference_levels(levels, protocol).cpu())[:, 0]
    height, width = levels.shape[1:]
    empty = (0, 0, width - 1, height - 1) if protocol.no_contour == "whole" else (0, 0, 0, 0)
    masks = (levels.detach().cpu() > limits[:, None, None]).numpy()
    return torch.tensor([_box(mask) or empty for mask in masks], dtype=torch.int64)


def _box(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    labels, count = ndimage.label(mask, EIGHT)
    if not count:
        return None
    places = ndimage.find_objects(labels)
    areas = [_polygon_area(ndimage.binary_fill_holes(labels[place] == k + 1)) for k, place in enumerate(places)]
    rows, columns = places[int(np.argmax(areas))]
    height, width = mask.shape
    return (columns.start, rows.start, min(columns.stop, width - 1), min(rows.stop, height - 1))


def _polygon_area(filled: npt.NDArray[np.bool_]) -> float:
    """Area of the polygon through the outline's pixel centres: full 2×2 cells count 1, cells of three pixels 1/2."""
    counts = filled.astype(np.int8)
    cells = counts[1:, 1:] + counts[1:, :-1] + counts[:-1, 1:] + counts[:-1, :-1]
    return float((cells == 4).sum() + 0.5 * (cells == 3).sum())
