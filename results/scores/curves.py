"""Hits of many images over the location threshold, stored as changes, and their weighted counts.

A hit curve of an image changes a few times along 255 levels. Adding an image's weight at its changes and summing
along the thresholds afterwards costs two additions a curve instead of 255, for all resamples of a block at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ...jit import kernel
from ...metrics.functional.localisation import levels_at, unpack_hits
from ..records.columns import Array

Counts = npt.NDArray[np.int32]
Weights = npt.NDArray[np.uint8]
CHUNK = 4096
"""Images whose hits are unpacked at a time."""


@dataclass(frozen=True)
class Curves:
    """Hits of n images in R named rows over T thresholds.

    Attributes:
        names: Rows (R). taus: Thresholds (T,), ascending; those between two of them give the hits of the lower one.
        offsets: int64 (n+1,); changes of image i are ``changes[offsets[i]:offsets[i + 1]]``.
        changes: int32; c = row·T + threshold where hits begin, −1 − c where they end.
    """

    names: tuple[str, ...]
    taus: npt.NDArray[np.float64]
    offsets: npt.NDArray[np.int64]
    changes: npt.NDArray[np.int32]

    def count(self, weights: Weights) -> Counts:
        """Weighted hits int32 (R,T,S) of weights uint8 (n,S)."""
        counts = np.zeros((len(self.names) * len(self.taus), weights.shape[1]), np.int32)
        _add_changes(weights, self.offsets, self.changes, counts)
        shaped = counts.reshape(len(self.names), len(self.taus), -1)
        summed: Counts = np.cumsum(shaped, axis=1, out=shaped)
        return summed

    def hits(self, name: str, threshold: int) -> npt.NDArray[np.bool_]:
        """Hits bool (n,) of a row at the threshold of index ``threshold``."""
        first = self.names.index(name) * len(self.taus)
        code = np.where(self.changes >= 0, self.changes, -1 - self.changes)
        chosen = (code >= first) & (code <= first + threshold)
        image = np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))
        sign = np.where(self.changes >= 0, 1, -1)
        hits: npt.NDArray[np.bool_] = np.bincount(image[chosen], sign[chosen], len(self.offsets) - 1) > 0
        return hits

    def index_of(self, tau: float) -> int:
        """Index of the threshold that gives the hits of the grid's ``tau``."""
        return int(np.searchsorted(self.taus, tau, side="right")) - 1


class HitReader:
    """Hit bits per level -> hits per distinct threshold, whatever the peaks of the maps.

    Args:
        peak: Highest levels (n,) uint8 of the maps.
        taus: Thresholds, float64, ascending.
    """

    def __init__(self, peak: Array, taus: npt.NDArray[np.float64]) -> None:
        peaks, self._kind = np.unique(peak, return_inverse=True)
        levels = levels_at(torch.from_numpy(taus), torch.from_numpy(peaks)).numpy()
        # Thresholds that fall on the same level in every map have the same hits: the first stands for all.
        new = np.ones(len(taus), dtype=bool)
        new[1:] = (np.diff(levels, axis=1) != 0).any(axis=0)
        self._levels, self.taus = levels[:, new], taus[new]

    def curves(self, rows: Mapping[str, tuple[Array, npt.NDArray[np.bool_]]]) -> Curves:
        """Curves of ``rows``: name -> (hit bits uint8 (n,32), images bool (n,) that may hit)."""
        n, width = len(self._kind), len(self.taus)
        counts, changes = np.zeros(n, np.int64), list[npt.NDArray[np.int32]]()
        for start in range(0, n, CHUNK):
            part = slice(start, start + CHUNK)
            levels = torch.from_numpy(self._levels[self._kind[part]])
            hits = np.stack([self._expand(*row, part, levels) for row in rows.values()], axis=1)
            steps = np.diff(hits.view(np.int8), axis=2, prepend=np.int8(0))
            # Counting booleans is several times faster than nonzero of another dtype.
            flat = np.flatnonzero(steps != 0)
            image, code = np.divmod(flat, len(rows) * width)
            changes.append(np.where(steps.ravel()[flat] > 0, code, -1 - code).astype(np.int32))
            counts[part] = np.bincount(image, minlength=len(hits))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return Curves(tuple(rows), self.taus, offsets, np.concatenate(changes))

    @staticmethod
    def _expand(
        packed: Array, chosen: npt.NDArray[np.bool_], part: slice, levels: torch.Tensor
    ) -> npt.NDArray[np.bool_]:
        hits = unpack_hits(torch.from_numpy(np.ascontiguousarray(packed[part]))).gather(1, levels)
        expanded: npt.NDArray[np.bool_] = (hits & torch.from_numpy(chosen[part])[:, None]).numpy()
        return expanded


@kernel
def _add_changes(
    weights: Weights, offsets: npt.NDArray[np.int64], changes: npt.NDArray[np.int32], counts: Counts
) -> None:
    for image in range(len(offsets) - 1):
        for k in range(offsets[image], offsets[image + 1]):
            change = changes[k]
            if change >= 0:
                for s in range(counts.shape[1]):
                    counts[change, s] += np.int32(weights[image, s])
            else:
                for s in range(counts.shape[1]):
                    counts[-1 - change, s] -= np.int32(weights[image, s])
