"""How fast a device and its host are: memory, products, forwards by batch and precision, boxes by engine, decoding."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import torch
from PIL import Image
from torch import Tensor

from ...baselines.contracts import Backbone
from ...datasets.batches import BILINEAR, open_picture, to_rgb
from ...metrics.functional.boxes import level_ious
from ...metrics.functional.device_boxes import ENGINES, choose_engine
from ...protocol import PAPER
from ..engine.scoring.reading import Reading
from ..host.dtypes import Dtype
from ..host.memory import is_out_of_memory
from .device_checks import BuiltIn

ROUNDS = 3
PICTURE = (500, 375)
"""Width and height of the pictures that are decoded: an ordinary image of ImageNet."""


def seconds(do: Callable[[], object], device: torch.device, rounds: int = ROUNDS) -> float:
    """Median seconds of a computation after one of warm-up, until the device is through."""
    do()
    found = []
    for _ in range(rounds):
        _wait(device)
        begun = time.perf_counter()
        do()
        _wait(device)
        found.append(time.perf_counter() - begun)
    return median(found)


def memory_gib(device: torch.device) -> tuple[float, float]:
    """Free and whole memory in GiB, of the device or of the host for the CPU."""
    if device.type == "cuda":
        free, whole = torch.cuda.mem_get_info(device)
    else:
        import psutil

        host = psutil.virtual_memory()
        free, whole = host.available, host.total
    return free / 2**30, whole / 2**30


def bandwidth(device: torch.device) -> float:
    """GB/s that a copy within the device's memory reads and writes."""
    source = torch.zeros(2**28 if device.type == "cuda" else 2**24, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), device) / 1e9


def matrix_rate(device: torch.device) -> float:
    """TFLOP/s of a float32 product of square matrices."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.ones(side, side, device=device)
    return 2 * side**3 / seconds(lambda: a @ a, device) / 1e12


def forward_rates(network: Backbone, device: torch.device, sizes: Sequence[int], dtype: Dtype) -> dict[int, float]:
    """Images/s of a plain forward by the images of a batch; sizes that do not fit are left out.

    ``network`` is frozen and on the device.
    """
    reading = Reading(network, PAPER, dtype=dtype)
    found: dict[int, float] = {}
    for size in sizes:
        images = BuiltIn.of(1, PAPER.size).images.expand(size, -1, -1, -1).contiguous()
        names = [str(i) for i in range(size)]
        try:
            found[size] = size / seconds(lambda: reading.see(images, names, None), device)  # noqa: B023
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
    return found


def box_times(levels: Tensor, batch: BuiltIn, device: torch.device) -> dict[str, float]:
    """Milliseconds a map by box engine, of those that the device can run; ``levels`` uint8 (k·B,R,R) on the CPU."""
    boxes = batch.boxes * (len(levels) // len(batch.boxes))
    found = {}
    for engine in ENGINES[1:]:
        try:
            choose_engine(engine, device)
        except ValueError:
            continue
        there = levels if engine == "cpu" else levels.to(device)
        if engine == "triton" and device.type != "cuda":
            continue
        found[engine] = 1e3 * seconds(lambda: level_ious(there, boxes, engine=engine), device) / len(levels)  # noqa: B023
    return found


def decode_rates(count: int = 32) -> dict[int, float]:
    """Images/s that the host decodes and squashes, by threads: 1, 2, 4 … up to its cores."""
    pictures = []
    for picture in BuiltIn.of(count, PICTURE[0]).images:
        file = io.BytesIO()
        Image.fromarray(picture.permute(1, 2, 0).numpy()).resize(PICTURE).save(file, "JPEG", quality=90)
        pictures.append({"bytes": file.getvalue(), "path": None})

    def one(picture: dict[str, bytes | None]) -> object:
        return to_rgb(open_picture(picture)).resize((PAPER.size, PAPER.size), BILINEAR)

    found, threads = {}, 1
    while threads <= (os.cpu_count() or 1):
        with ThreadPoolExecutor(threads) as pool:
            took = seconds(lambda: list(pool.map(one, pictures)), torch.device("cpu"))
        found[threads] = count / took
        threads *= 2
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "xpu":
        torch.xpu.synchronize(device)
