"""What --compile and --fill-chunks cost and gain: forwards as they are and compiled, masked images of nine maps.

Usage: python tests/benchmarks/forward_options.py [--device cpu] [--network slim_resnet] [--rounds 7] > FILE.md
One thread, processor time on a CPU, the ways in turns; medians and ranges of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from cambench.baselines.backbones import open_backbone
from cambench.bench.engine.scoring.masked_scores import Fidelity
from cambench.bench.engine.scoring.reading import Reading
from cambench.bench.host.allocator import keep_freed_memory
from cambench.bench.host.device import pick_device
from cambench.bench.host.dtypes import Compile
from cambench.bench.timing.device_checks import BuiltIn
from cambench.protocol import PAPER

MAPS = 9


def seconds(do: Callable[[], object], device: torch.device) -> float:
    """Processor seconds on a CPU, wall seconds on a device."""
    if device.type == "cpu":
        begun = time.process_time()
        do()
        return time.process_time() - begun
    torch.cuda.synchronize(device)
    begun = time.perf_counter()
    do()
    torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def in_turns(a: Callable[[], object], b: Callable[[], object], device: torch.device, rounds: int) -> str:
    """Milliseconds of ``a`` and ``b``, and the ratio b / a: cells of a row."""
    a(), b()
    found = [(seconds(a, device), seconds(b, device)) for _ in range(rounds)]
    ratios = sorted(y / x for x, y in found)
    first, second = (1e3 * statistics.median(column) for column in zip(*found, strict=True))
    return f"{first:.1f} | {second:.1f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"


def fidelity(reading: Reading, images: Tensor) -> Callable[[bool], list[Tensor]]:
    """Masked scores of nine maps of a batch: one by one, or chunk by chunk."""
    seen = reading.see(images, [str(k) for k in range(len(images))], None)
    own = Fidelity(reading.network, PAPER, reading.features, seen.pixels, seen.target)
    random = torch.Generator().manual_seed(0)
    maps = [(torch.rand(len(images), 14, 14, generator=random).to(reading.device), False) for _ in range(MAPS)]

    def score(filled: bool) -> list[Tensor]:
        most = own.maps_in(reading.chunk_bytes) if filled else 1
        return [o for k in range(0, MAPS, most) for o in own.masked_scores(maps[k : k + most])]

    return score


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--network", default="slim_resnet")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", default="kernels", choices=("kernels", "graphs"))
    given = parser.parse_args()
    device = torch.device(pick_device(given.device))
    torch.set_num_threads(1)
    keep_freed_memory()
    network: Any = open_backbone(given.network, num_classes=None).to(device).freeze()
    plain = Reading(network, PAPER)
    made = Reading(network, PAPER, compile=cast(Compile, given.compile))
    print("| work | as it is, ms | other way, ms | ratio | values differ by |\n|---|---:|---:|---:|---:|")
    for count in (4, 32):
        images = BuiltIn.of(count, PAPER.size).images
        normal = network.normalise(plain.pixels(images))
        apart = plain.features(normal)
        most = float((made.features(normal) - apart).abs().max() / apart.abs().max())
        cells = in_turns(lambda: plain.features(normal), lambda: made.features(normal), device, given.rounds)  # noqa: B023
        print(f"| forward of {count}, --compile {given.compile} | {cells} | {most:.0e} of the largest |", flush=True)
    for count in (1, 2, 4, 8):
        score = fidelity(plain, BuiltIn.of(count, PAPER.size).images)
        one, filled = torch.cat(score(False)), torch.cat(score(True))
        cells = in_turns(lambda: score(False), lambda: score(True), device, given.rounds)  # noqa: B023
        print(f"| {MAPS} maps of {count} masked, --fill-chunks | {cells} | {float((one - filled).abs().max()):.0e} |")


if __name__ == "__main__":
    main()
