"""From score maps to located ones: several maps of a batch in one call where the device gains by it.

Resize, min-max, levels and pixel histograms treat every map by itself, so that their values are the same to the bit in
a call of any number of maps. On an accelerator one call spares the launches of all others; on a CPU a map at a time is
faster, as its pixels stay in the cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ....metrics.functional.boxes import quantize
from ....metrics.functional.maps import locate
from ....metrics.functional.pixels import pixel_histograms
from ....triple import Triple
from .reading import Reading, ScoreMap

CHUNKS = 8
"""Chunks of ``Reading.chunk_bytes`` that one float64 tensor of located maps takes at most on an accelerator."""
Drawn = tuple[Triple, ScoreMap]


class Located(NamedTuple):
    """A triple's maps at the size of the image: ``ScoreMap.locate``, and their levels uint8 (B,R,R)."""

    up: Tensor
    norm: Tensor
    degenerate: Tensor
    levels: Tensor


def maps_at_once(reading: Reading, images: int) -> int:
    """How many triples' maps of a batch are located in one call."""
    if reading.device.type == "cpu":
        return 1
    taken = images * reading.protocol.size**2 * torch.float64.itemsize
    return max(1, CHUNKS * reading.chunk_bytes // taken)


def in_groups(drawn: Iterable[Drawn], most: int) -> Iterator[list[Drawn]]:
    """Score maps in their order, those that can be located in one call together; drawn one by one as it goes on."""
    group: list[Drawn] = []
    for one in drawn:
        if group and (len(group) == most or not _alike(group[0][1], one[1])):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _alike(a: ScoreMap, b: ScoreMap) -> bool:
    """Whether one call of ``locate`` serves both; maps of several sizes are located by themselves."""
    if type(a) is not ScoreMap or type(b) is not ScoreMap:
        return False
    same = (a.rule, a.size, a.finished) == (b.rule, b.size, b.finished)
    return same and a.low.shape == b.low.shape and a.low.dtype == b.low.dtype


def locate_group(group: Sequence[Drawn]) -> list[Located]:
    """The located maps of a group, in one call."""
    first = group[0][1]
    if len(group) == 1:
        up, norm, flags = first.locate()
        return [Located(up, norm, flags, quantize(norm))]
    up, norm, flags = locate(
        torch.cat([score.low for _, score in group]), first.rule, first.size, finished=first.finished
    )
    whole = (up, norm, flags, quantize(norm))
    return [Located(*parts) for parts in zip(*(part.chunk(len(group)) for part in whole), strict=True)]


def histograms_of(group: Sequence[Located], masks: Tensor, grid: str) -> list[Tensor]:
    """Pixel histograms (B,2,K) of the maps of a group, in one call; ``masks`` uint8 (B,R,R) of the batch."""
    if len(group) == 1:
        return [pixel_histograms(group[0].norm, masks, grid)]
    norm = torch.cat([maps.norm for maps in group])
    return list(pixel_histograms(norm, masks.repeat(len(group), 1, 1), grid).chunk(len(group)))
