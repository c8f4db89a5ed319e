"""Level curves on the device where the maps are, exact to the bit like the CPU kernels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...float64 import has_float64
from .host_copies import upload
from .kernels.fused import room_of_program, why_not_fused
from .kernels.levels import LevelIoUs, run
from .kernels.tensor import Truth, tensor_curves

ENGINES = ("auto", "cpu", "tensor", "triton")
"""Names of the box engines of ``level_ious``."""
ROOM = 1 << 30
"""Bytes that one call of the tensor engine may take for its intermediates; more maps go in several calls."""
CACHED = 1 << 26
"""The same on a CPU, whose cache then holds more of them."""
_PER_PIXEL, _PER_MAP = 160, 6 << 20
"""Bytes of those intermediates for a pixel and, for the tables of basins by level, for a map (measured, rounded up)."""


def choose_engine(engine: str, device: torch.device) -> str:
    """``cpu``, ``tensor`` or ``triton``: under ``auto`` the tensor engine on every accelerator that has float64.

    Triton's is taken where it is asked for: it has been proved under Triton's interpreter and compiled, but no GPU has
    run it yet.

    Raises:
        ValueError: Another name, or an engine that the device cannot run.

    Examples:
        >>> choose_engine("auto", torch.device("cpu"))
        'cpu'
    """
    if engine not in ENGINES:
        raise ValueError(f"level_ious: no box engine {engine!r}; there are {', '.join(ENGINES)}")
    exact = has_float64(device)
    if engine == "tensor" and not exact:
        raise ValueError(
            f"level_ious: {device.type} has no float64, which the tensor engine needs; use 'cpu' or 'auto'"
        )
    if engine == "triton" and (why := why_not_fused(device)):
        raise ValueError(f"level_ious: {why}")
    if engine == "auto":
        return "tensor" if device.type != "cpu" and exact else "cpu"
    return engine


def truth_on(boxes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], device: torch.device) -> Truth:
    """Joined boxes (M,4) with offsets (B+1,) as the device engines take them.

    Examples:
        >>> truth_on(np.array([[0, 0, 3, 3]]), np.array([0, 1, 1]), torch.device("cpu")).counts
        tensor([1, 0])
    """
    counts = np.diff(offsets)
    rows = np.zeros((len(counts), int(counts.max(initial=0)), 4), np.int64)
    image = np.repeat(np.arange(len(counts)), counts)
    rows[image, np.arange(len(boxes)) - offsets[image]] = boxes
    return Truth(upload(torch.from_numpy(rows), device), upload(torch.from_numpy(counts), device))


def device_curves(levels: Tensor, truth: Truth, engine: str = "tensor") -> tuple[Tensor, Tensor]:
    """Curves float64 (3,B,256) of levels (B,H,W), and bool (B,): where they hold; nothing waits for the device.

    As ``tensor_curves`` or ``fused_curves``, in calls of as many maps as ``ROOM`` has room for.

    Examples:
        >>> levels = torch.zeros(1, 8, 8, dtype=torch.uint8)
        >>> curves, served = device_curves(levels, truth_on(np.array([[1, 2, 6, 5]]), np.array([0, 1]), levels.device))
        >>> curves.shape, served.tolist()
        (torch.Size([3, 1, 256]), [True])
    """
    pixels = levels[0].numel() if len(levels) else 0
    each, curves_of = _PER_PIXEL * pixels + _PER_MAP, tensor_curves
    if engine == "triton":
        from .kernels.fused.fused_curves import fused_curves

        each, curves_of = room_of_program(pixels), fused_curves
    at_once = max(1, (CACHED if levels.device.type == "cpu" else ROOM) // each)
    found = [
        curves_of(part, Truth(truth.boxes[start : start + at_once], truth.counts[start : start + at_once]))
        for start, part in zip(range(0, len(levels), at_once), levels.split(at_once), strict=False)
    ]
    return torch.cat([curves for curves, _ in found], 1), torch.cat([served for _, served in found])


def run_on_device(
    levels: Tensor, boxes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], engine: str = "tensor"
) -> LevelIoUs:
    """``level_ious`` of checked levels (B,H,W) and joined boxes (M,4), with the curves on the levels' device.

    Maps with more basins than the device engine has room for are taken by the CPU kernels, in the same call; asking
    for them is the one time that the host waits for the device.

    Examples:
        >>> levels = torch.zeros(1, 8, 8, dtype=torch.uint8)
        >>> levels[0, 2:5, 1:6] = 200
        >>> curves = run_on_device(levels, np.array([[1, 2, 6, 5]]), np.array([0, 1]))
        >>> float(curves.single[0, 199]), float(curves.single[0, 200])
        (1.0, 0.0)
    """
    if not len(levels):
        return run(levels, boxes, offsets)
    curves, served = device_curves(levels, truth_on(boxes, offsets, levels.device), engine)
    left = (~served).nonzero()[:, 0].cpu().numpy()
    if len(left):
        own = [boxes[offsets[i] : offsets[i + 1]] for i in left]
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in own])])
        slow = run(levels[~served], np.concatenate(own), starts)
        curves[:, ~served] = torch.stack(slow[:3]).to(curves.device)
    multi, single, single_first = curves
    return LevelIoUs(multi, single, single_first, levels.flatten(1).amax(1).to(torch.int64))
