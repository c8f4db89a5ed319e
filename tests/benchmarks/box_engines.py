"""The tensor engine beside the compiled kernels on a CPU, its operators, and the memory traffic of the float64 chain.

Usage: python tests/benchmarks/box_engines.py [--rounds 5] >> FILE.md
One thread, processor time, both engines in turns on the same 64 maps; medians and ranges of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from test_bench_boxes import GT, raw_maps
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cambench.metrics.functional import maps as map_chain
from cambench.metrics.functional.boxes import level_ious, quantize_levels
from cambench.metrics.functional.kernels import resize
from cambench.metrics.functional.pixels import device_histograms

KINDS, BATCH, SIZE = ("relu7", "relu14", "signed14", "signed28"), 64, 224
TARGET = 15


class Traffic(TorchDispatchMode):
    """Operators, and the bytes that they read and write; views move none."""

    calls, moved = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one operator."""
        made = function(*args, **(kwargs or {}))
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        new = [t for t in tree_leaves(made) if isinstance(t, Tensor)]
        homes = {t.untyped_storage().data_ptr() for t in given}
        view = not function._schema.is_mutable and any(t.untyped_storage().data_ptr() in homes for t in new)
        self.calls += 1
        self.moved += 0 if view else sum(t.nbytes for t in (*given, *new))
        return made


def counted(do: Callable[[], object]) -> Traffic:
    """The traffic of a computation."""
    with Traffic() as traffic:
        do()
    return traffic


def processor(do: Callable[[], object]) -> float:
    """Processor seconds."""
    begun = time.process_time()
    do()
    return time.process_time() - begun


def engines(rounds: int) -> list[str]:
    """Rows: kind, kernels, tensor engine, ratio, operators of one map and of the batch."""
    rows = []
    for kind in KINDS:
        levels = quantize_levels(raw_maps(kind).repeat(2, 1, 1)[:BATCH])
        boxes = [GT] * len(levels)
        both = [lambda e=e: level_ious(levels, boxes, engine=e) for e in ("cpu", "tensor")]  # noqa: B023
        a, b = (do() for do in both)
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True)), kind
        times = [[processor(do) for do in both] for _ in range(rounds)]
        ratios = sorted(tensor / kernels for kernels, tensor in times)
        cpu, tensor = (1e3 * statistics.median(column) / BATCH for column in zip(*times, strict=True))
        calls = [
            counted(lambda n=n: level_ious(levels[:n], boxes[:n], engine="tensor")).calls  # noqa: B023
            for n in (1, BATCH)
        ]
        rows.append(
            f"| {kind} | {cpu:.2f} | {tensor:.2f} | {statistics.median(ratios):.1f} ({ratios[0]:.1f} to "
            f"{ratios[-1]:.1f}) | ≤ {TARGET} | {calls[0]}, {calls[1]} |"
        )
    return rows


def chain() -> tuple[int, float]:
    """Operators of a batch's float64 chain as tensor code, and bytes that it moves for each map."""
    low, masks = raw_maps("signed14"), torch.ones(32, SIZE, SIZE, dtype=torch.uint8)
    resize.on_host = map_chain.on_host = lambda _: False  # type: ignore[assignment]

    def whole() -> None:
        norm, _ = map_chain.min_max(map_chain.resize_maps(low, SIZE, "bicubic"))
        (norm * 255).to(torch.uint8).amax((1, 2))
        device_histograms(norm, masks, "arange1000")

    whole()
    traffic = counted(whole)
    return traffic.calls, traffic.moved / len(low)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"Load average {os.getloadavg()[0]:.1f}; {given.rounds} rounds; a batch of {BATCH} maps of {SIZE}×{SIZE}.\n")
    print("| maps | kernels, ms/map | tensor engine, ms/map | ratio | target | operators, 1 and 64 maps |")
    print("|---|---:|---:|---:|---:|---:|")
    print("\n".join(engines(given.rounds)), flush=True)
    calls, moved = chain()
    kernels = 6 * SIZE**2 * 8 + 3 * SIZE**2
    print(
        f"\nThe float64 chain (resize, min-max, levels, histogram) moves {kernels / 1e6:.1f} MB a map in the "
        f"compiled kernels of the CPU, {moved / 1e6:.1f} MB in {calls} tensor operations a batch on other devices."
    )


if __name__ == "__main__":
    main()
