"""Whether a device computes what the CPU computes: the steps of the pass on a built-in batch, each by itself."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from ...baselines.cams import CAMS
from ...baselines.contracts import HEADS, Backbone
from ...metrics.functional.boxes import join_boxes, level_ious, quantize
from ...metrics.functional.device_boxes import ENGINES, choose_engine, run_on_device
from ...metrics.functional.maps import locate
from ...metrics.functional.pixels import pixel_histograms
from ...protocol import PAPER
from ...text import first_line
from ..engine.scoring.masked_scores import Fidelity
from ..engine.scoring.reading import Reading, Seen

METHODS = ("gradcam", "gradcam++", "layercam")
NETWORK_TOLERANCE = 5e-4
"""Largest difference of what a network computes, as a part of its largest value: sums of float32 in another order."""


class DeviceCheck(BaseModel):
    """One step on the device beside the same step on the CPU."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    step: str
    ok: bool
    said: str


@dataclass(frozen=True)
class BuiltIn:
    """A batch that needs no data set: smooth random pictures, boxes and masks, the same everywhere."""

    images: Tensor
    boxes: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]]
    masks: Tensor

    @classmethod
    def of(cls, count: int, size: int) -> BuiltIn:
        """``count`` pictures of a side."""
        random = torch.Generator().manual_seed(19)
        rough = torch.rand(count, 3, 9, 9, generator=random)
        smooth = torch.nn.functional.interpolate(rough, size=(size, size), mode="bicubic", align_corners=False)
        low = torch.randint(0, size // 2, (count, 2), generator=random)
        boxes = [np.array([[x, y, x + size // 3, y + size // 4]], np.int64) for x, y in low.tolist()]
        masks = torch.zeros(count, size, size, dtype=torch.uint8)
        for mask, rows in zip(masks, boxes, strict=True):
            x0, y0, x1, y1 = rows[0]
            mask[y0 : y1 + 1, x0 : x1 + 1] = 1
        return cls((smooth.clamp(0, 1) * 255).to(torch.uint8), boxes, masks)


def check_device(network: Backbone, batch: BuiltIn, device: torch.device) -> Iterator[DeviceCheck]:
    """Every step, one after the other; one that fails is told, and the next one is tried.

    Args:
        network: On the CPU, frozen.
        batch: On the CPU.
        device: Where it is to be as on the CPU.
    """
    here, names = Reading(network, PAPER), [str(i) for i in range(len(batch.images))]
    seen = here.see(batch.images, names, None)
    there = Reading(copy.deepcopy(network).to(device).freeze(), PAPER)
    drawn = [seen.score_map(CAMS.get(cam), HEADS.get("softmax")) for cam in METHODS]
    low = torch.cat([each.low for each in drawn])
    norm = torch.cat([each.locate()[1] for each in drawn])
    levels = quantize(norm)
    masks = batch.masks.repeat(len(METHODS), 1, 1)

    def look() -> Seen:
        return there.see(batch.images, names, seen.target)

    def maps() -> DeviceCheck:
        found = torch.cat([look().score_map(CAMS.get(cam), HEADS.get("softmax")).low.cpu() for cam in METHODS])
        return _near("maps", found, low)

    def chain() -> DeviceCheck:
        # Of the CPU's maps, so that the network's differences are not counted again.
        moved = [quantize(locate(each.low.to(device), each.rule, PAPER.size)[1]).cpu() for each in drawn]
        differ = (torch.cat(moved).int() - levels.int()).abs()
        many, most = int((differ > 0).sum()), int(differ.max())
        said = f"{many:,} of {differ.numel():,} levels differ" + (f", by {most} at most" if many else "")
        return DeviceCheck(step="levels", ok=most <= 1, said=said)

    def histograms() -> DeviceCheck:
        found = pixel_histograms(norm.to(device), masks.to(device), PAPER.tau_grid).cpu()
        return _same("histograms", int((found != pixel_histograms(norm, masks, PAPER.tau_grid)).sum()), "bins")

    def fidelity() -> DeviceCheck:
        def score(reading: Reading, pixels: Tensor, positive: Tensor) -> Tensor:
            target = seen.target.to(pixels.device)
            own = Fidelity(reading.network, PAPER, reading.features, pixels, target)
            return own.masked_score(positive, False).cpu()

        found = score(there, seen.pixels.to(device), drawn[0].positive.to(device))
        return _near("fidelity", found, score(here, seen.pixels, drawn[0].positive))

    def boxes(engine: str) -> DeviceCheck:
        every = batch.boxes * len(METHODS)
        joined, offsets = join_boxes(every, len(levels))
        found = run_on_device(levels.to(device), joined, offsets, engine)
        expected = level_ious(levels, every, engine="cpu")
        wrong = sum(int((a.cpu() != b).sum()) for a, b in zip(found, expected, strict=True))
        return _same(f"boxes, {engine}", wrong, "values of the curves")

    yield _tried("forward", lambda: _near("forward", look().logits.cpu(), seen.logits))
    for name, step in (("maps", maps), ("levels", chain), ("histograms", histograms), ("fidelity", fidelity)):
        yield _tried(name, step)
    for engine in ENGINES[2:]:
        try:
            choose_engine(engine, device)
        except ValueError as error:
            yield DeviceCheck(
                step=f"boxes, {engine}", ok=True, said=f"not here: {first_line(error)}".replace("level_ious: ", "")
            )
            continue
        yield _tried(f"boxes, {engine}", lambda engine=engine: boxes(engine))  # type: ignore[misc]


def _near(step: str, found: Tensor, expected: Tensor) -> DeviceCheck:
    found, expected = found.double(), expected.double()
    apart = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
    return DeviceCheck(step=step, ok=apart <= NETWORK_TOLERANCE, said=f"differs by {apart:.1e} of the largest value")


def _same(step: str, wrong: int, what: str) -> DeviceCheck:
    return DeviceCheck(step=step, ok=not wrong, said=f"{wrong:,} {what} differ" if wrong else "equal to the bit")


def _tried(step: str, do: Callable[[], DeviceCheck]) -> DeviceCheck:
    try:
        return do()
    except Exception as error:
        return DeviceCheck(step=step, ok=False, said=f"failed: {first_line(error)}")
