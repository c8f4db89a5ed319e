"""What can be measured: every metric's title, direction, unit and source, and what a metric of one's own may read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..protocol import Protocol
from ..registry import Registry


@dataclass(frozen=True)
class MapBatch:
    """What a per-image metric may read: one batch of maps of one triple, on the maps' device.

    ``maps`` (B,R,R) float64 in [0, 1]: resized and min-max normalised, zero where degenerate; ``positive`` (B,R,R)
    float64: resized, negative values dropped, not normalised; ``pixels`` (B,3,R,R) float32 in [0, 1]; ``gt_boxes``: B
    arrays (K,4) int64 in R-pixel coordinates; ``regions`` bool (B,R,R): their union, or None without boxes; ``masks``
    (B,R,R) uint8 {0, 1, 255} or None; ``evidence`` (B,R,R) bool or None; ``score(images, index)``: class score (M,)
    float64 of images (M,3,R,R) in [0, 1] for the targets of the batch's images ``index`` (M,).
    """

    image_ids: Sequence[str]
    maps: Tensor
    positive: Tensor
    pixels: Tensor
    gt_boxes: Sequence[npt.NDArray[np.int64]]
    regions: Tensor | None
    masks: Tensor | None
    evidence: Tensor | None
    protocol: Protocol
    score: Callable[[Tensor, Tensor], Tensor]


PerImage = Callable[[MapBatch], Tensor]


@dataclass(frozen=True)
class MetricSpec:
    """A metric that tables may show.

    ``kind``: ``classification``, ``localisation``, ``pixels`` or ``fidelity``. ``needs``: what it is computed from
    (``boxes``, ``masks``, ``evidence``, ``scores``, ``labels``). ``class_name``: its torchmetrics class.
    ``per_image``: values (B,) of a batch of maps, stored with the records and averaged in tables; None for metrics that
    the engine computes itself. An ``expensive`` one (many forwards) runs only where it is asked for by name.
    """

    name: str
    title: str
    higher_is_better: bool
    unit: str
    source: str
    kind: str = "localisation"
    needs: tuple[str, ...] = ()
    class_name: str = ""
    per_image: PerImage | None = None
    expensive: bool = False


METRICS: Registry[MetricSpec] = Registry("metric", "cambench.metrics", ("cambench.metrics.catalogue",))


def register_metric(spec: MetricSpec, *, origin: str | None = None) -> MetricSpec:
    """Register a metric under ``spec.name``; RegistryError if the name is taken by another module."""
    return METRICS.add(spec.name, spec, origin=origin)
