"""What a pass is asked to score, and the form of what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ....metrics import MetricSpec
from ....triple import Triple
from .pass_boxes import BoxEngine

Columns = dict[str, npt.NDArray[np.generic]]
Rows = dict[Triple, Columns]


@dataclass(frozen=True)
class Scoring:
    """What is scored of every map.

    Attributes:
        iou_thresholds: IoU thresholds whose hit bits are recorded.
        has_boxes: The split has ground-truth boxes.
        measures: Further metrics that give one value for each image.
        measures_only: Nothing else is scored: records that lack a metric get its column.
        fidelity: Images behind their maps are scored: Y, and O by one forward of each distinct map.
        map_bytes: Bytes of an image's low-resolution map, float32, up to which it is stored as well.
        box_threads: Threads of the box kernels.
        box_engine: What computes boxes; the passes of a run share it.
    """

    iou_thresholds: tuple[float, ...]
    has_boxes: bool
    measures: tuple[MetricSpec, ...] = ()
    map_bytes: float = 0
    box_threads: int = 1
    measures_only: bool = False
    fidelity: bool = True
    box_engine: BoxEngine = field(default_factory=BoxEngine)
