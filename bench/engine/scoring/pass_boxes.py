"""The box engine of a run: compiled kernels in worker threads, or the device engine, which must prove itself first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ....metrics.functional.boxes import LevelIoUs, join_boxes
from ....metrics.functional.device_boxes import choose_engine, device_curves, truth_on
from ....metrics.functional.kernels.tensor import Truth
from ....metrics.functional.localisation import pack_hits
from ....metrics.functional.no_contour import whole_where_empty
from ....metrics.functional.pool import BoxPool
from ....triple import Triple
from ...host.memory import is_out_of_memory
from .clock import StageClock
from .losses import is_device_failure

RULES = ("multi", "single", "single_first")
SERVED = "served"
"""Column of a device batch: the maps that the device engine had room for."""
CURVES = "curves"
"""Column of a device batch that is also computed on the CPU: what is compared."""
DEVICE_ONLY = (SERVED, CURVES)
Hits = dict[str, npt.NDArray[np.uint8]]
DeviceColumns = dict[tuple[Triple | None, str], Tensor]


class BoxTally(NamedTuple):
    """Maps by the engine that served them; what was computed otherwise than asked for -> how many times."""

    served: Counter[str]
    notes: Counter[str]


class BoxEngine:
    """Which box engine serves a run, until it is found wrong; the passes of all backbones share it.

    Args:
        asked: As of ``level_ious``.
        device: Where the maps are.

    Attributes:
        name: ``cpu``, or the engine on the device.
        proved: No further batch is computed by both engines.
    """

    def __init__(self, asked: str = "auto", device: torch.device | None = None) -> None:
        self._tally = BoxTally(Counter(), Counter())
        device = device or torch.device("cpu")
        try:
            self.name = choose_engine(asked, device)
        except ValueError as error:
            self.name = choose_engine("auto", device)
            instead = "on the CPU" if self.name == "cpu" else f"by the engine {self.name!r}"
            self._tally.notes[f"boxes are computed {instead}: {error}"] += 1
        self.proved = self.name == "cpu"

    def compare(self, ours: LevelIoUs, curves: npt.NDArray[np.float64], served: npt.NDArray[np.bool_]) -> None:
        """Trust the device engine if its curves (3,B,256) are the CPU's to the bit wherever it served; else leave it.

        A batch of which it served no map proves nothing.
        """
        expected = torch.stack(ours[:3]).numpy()
        wrong = (expected != curves).any((0, 2)) & served
        if wrong.any() and self.name != "cpu":
            self.leave(
                f"the box engine {self.name!r} differs from the CPU's on {int(wrong.sum())} of {int(served.sum())} "
                "maps of a batch that both computed"
            )
        elif served.any():
            self.proved = True

    def count(self, name: str, maps: int) -> None:
        """An engine served some maps."""
        if maps:
            self._tally.served[name] += maps

    def since(self) -> BoxTally:
        """What came about since this was asked last."""
        tally, self._tally = self._tally, BoxTally(Counter(), Counter())
        return tally

    def leave(self, why: str) -> None:
        """Go on with the CPU engine."""
        self._tally.notes[f"{why}: boxes are computed on the CPU from there on"] += 1
        self.name, self.proved = "cpu", True


class Boxes:
    """The boxes of the maps of a pass.

    Args:
        engine: The run's engine.
        threads: Threads of the CPU engine.
        no_contour: As of ``level_ious``.
        iou_thresholds: IoU thresholds whose hit bits are recorded.
        clock: Takes the time.
    """

    def __init__(
        self, engine: BoxEngine, threads: int, no_contour: str, iou_thresholds: Sequence[float], clock: StageClock
    ) -> None:
        self.engine, self.clock = engine, clock
        self.no_contour, self.iou_thresholds = no_contour, tuple(iou_thresholds)
        self.pool = BoxPool(threads, no_contour)

    def batch(self, gt_boxes: Sequence[npt.NDArray[np.integer[Any]]]) -> BatchBoxes:
        """Those of a batch of images with these boxes."""
        return BatchBoxes(self, gt_boxes)

    def hits(self, ious: LevelIoUs) -> dict[str, Tensor]:
        """Hit bits uint8 (B,T,32) of every rule, where the curves are."""
        return {f"hits_{rule}": pack_hits(getattr(ious, rule), self.iou_thresholds) for rule in RULES}


class BatchBoxes:
    """The boxes of all maps of one batch of images."""

    def __init__(self, boxes: Boxes, gt_boxes: Sequence[npt.NDArray[np.integer[Any]]]) -> None:
        self._boxes, self._gt_boxes = boxes, gt_boxes
        self._name, self._both = boxes.engine.name, not boxes.engine.proved
        self._levels: dict[Triple, Tensor] = {}
        self._futures: dict[Triple, Future[tuple[LevelIoUs, float]]] = {}

    def add(self, triple: Triple, levels: Tensor) -> None:
        """The levels uint8 (B,H,W) of a triple's maps; the CPU engine sets out at once."""
        if self._name != "cpu":
            self._levels[triple] = levels
        if self._name == "cpu" or self._both:
            self._submit(triple, levels)

    def _submit(self, triple: Triple, levels: Tensor) -> None:
        self._futures[triple] = self._boxes.pool.submit_timed(levels, self._gt_boxes)

    def on_device(self) -> DeviceColumns:
        """All added maps in one go on the device: what is to be copied to the host for ``finish``.

        An engine that fails there loses no map: the CPU takes them.
        """
        if not self._levels:
            return {}
        try:
            with self._boxes.clock.stage("boxes", tuple(self._levels)):
                return self._columns()
        except Exception as error:
            if is_out_of_memory(error) or is_device_failure(error):
                raise
            said = " ".join(str(error).split())
            self._boxes.engine.leave(f"the box engine {self._name!r} failed ({said})")
            for triple in self._levels.keys() - self._futures.keys():
                self._submit(triple, self._levels[triple])
            self._levels.clear()
            return {}

    def _columns(self) -> DeviceColumns:
        levels = torch.cat(list(self._levels.values()))
        boxes, offsets = join_boxes(self._gt_boxes, len(self._gt_boxes))
        truth, times = truth_on(boxes, offsets, levels.device), len(self._levels)
        truth = Truth(truth.boxes.repeat(times, 1, 1), truth.counts.repeat(times))
        curves, served = device_curves(levels, truth, self._name)
        multi, single, single_first = curves
        ious = LevelIoUs(multi, single, single_first, levels.flatten(1).amax(1).to(torch.int64))
        if self._boxes.no_contour != "zero":
            tiled = np.concatenate([offsets[:1], *(offsets[1:] + k * offsets[-1] for k in range(times))])
            ious = whole_where_empty(ious, levels.shape[1], levels.shape[2], np.tile(boxes, (times, 1)), tiled)
        found = {**self._boxes.hits(ious), SERVED: served}
        if self._both:
            found[CURVES] = torch.stack(ious[:3], 1)
        return {
            (triple, name): part
            for name, whole in found.items()
            for triple, part in zip(self._levels, whole.chunk(times), strict=True)
        }

    def finish(self, triple: Triple, copied: Mapping[str, npt.NDArray[Any]]) -> Hits:
        """Hit bits of a triple's maps on the host; ``copied``: what ``on_device`` gave of it, on the host."""
        engine = self._boxes.engine
        served = np.asarray(copied.get(SERVED, False)) & np.ones(len(self._gt_boxes), np.bool_)
        if triple in self._futures:
            ious, milliseconds = self._futures[triple].result()
            self._boxes.clock.add("boxes", triple, milliseconds)
            if CURVES in copied:
                engine.compare(ious, copied[CURVES].swapaxes(0, 1), served)
            if engine.name == "cpu" or triple not in self._levels:
                served[:] = False
            found = {name: bits.numpy() for name, bits in self._boxes.hits(ious).items()}
        else:
            if engine.name == "cpu":
                served[:] = False
            found = {name: np.array(copied[name]) for name in copied if name.startswith("hits_")}
            self._by_kernels(triple, ~served, found)
        engine.count(self._name, int(served.sum()))
        engine.count("cpu", int((~served).sum()))
        return found

    def _by_kernels(self, triple: Triple, left: npt.NDArray[np.bool_], found: Hits) -> None:
        """The maps that the device engine has no room for, or is not trusted with, by the CPU's, in place."""
        if not left.any():
            return
        rows = np.flatnonzero(left)
        levels = self._levels[triple].cpu()[torch.from_numpy(rows)]
        ious, milliseconds = self._boxes.pool.submit_timed(levels, [self._gt_boxes[i] for i in rows.tolist()]).result()
        self._boxes.clock.add("boxes", triple, milliseconds)
        for name, bits in self._boxes.hits(ious).items():
            found[name][rows] = bits.numpy()
