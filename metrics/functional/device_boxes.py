"""Level curves on the device where the maps are, exact to the bit like the CPU kernels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .kernels.levels import LevelIoUs, run
from .kernels.tensor import Truth, tensor_curves

ENGINES = ("auto", "cpu", "tensor")
"""Names of the box engines of ``level_ious``."""


def choose_engine(engine: str, device: torch.device) -> str:
    """``cpu`` or ``tensor``: under ``auto`` the tensor engine on every accelerator that has float64.

    Raises:
        ValueError: Another name, or ``tensor`` on a device without float64.

    Examples:
        >>> choose_engine("auto", torch.device("cpu"))
        'cpu'
    """
    if engine not in ENGINES:
        raise ValueError(f"level_ious: no box engine {engine!r}; there are {', '.join(ENGINES)}")
    exact = device.type != "mps"
    if engine == "tensor" and not exact:
        raise ValueError(
            f"level_ious: {device.type} has no float64, which the tensor engine needs; use 'cpu' or 'auto'"
        )
    if engine == "auto":
        return "tensor" if device.type != "cpu" and exact else "cpu"
    return engine


def run_on_device(levels: Tensor, boxes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> LevelIoUs:
    """``level_ious`` of checked levels (B,H,W) and joined boxes (M,4), with the curves on the levels' device.

    Maps with more basins than the tensor engine has room for are taken by the CPU kernels, in the same call; asking
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
    curves, served = tensor_curves(levels, _padded(boxes, offsets, levels.device))
    left = (~served).nonzero()[:, 0].cpu().numpy()
    if len(left):
        own = [boxes[offsets[i] : offsets[i + 1]] for i in left]
        starts = np.concatenate([[0], np.cumsum([len(rows) for rows in own])])
        slow = run(levels[~served], np.concatenate(own), starts)
        curves[:, ~served] = torch.stack(slow[:3]).to(curves.device)
    multi, single, single_first = curves
    return LevelIoUs(multi, single, single_first, levels.flatten(1).amax(1).to(torch.int64))


def _padded(boxes: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], device: torch.device) -> Truth:
    counts = np.diff(offsets)
    rows = np.zeros((len(counts), int(counts.max(initial=0)), 4), np.int64)
    image = np.repeat(np.arange(len(counts)), counts)
    rows[image, np.arange(len(boxes)) - offsets[image]] = boxes
    return Truth(torch.from_numpy(rows).to(device), torch.from_numpy(counts).to(device))
