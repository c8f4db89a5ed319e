"""All distinct maps of the embedded run's methods and heads beside one plain forward of the same batch, as Markdown.

Usage: python tests/benchmarks/map_ratios.py [--rounds N] >> results/timings/methods-cpu.md
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

import torch

from cambench.baselines.backbones import open_backbone
from cambench.baselines.cams import CAMS
from cambench.baselines.contracts import HEADS
from cambench.bench.engine.planning.plan import plan_backbone
from cambench.bench.engine.planning.triples import expand_patterns
from cambench.bench.engine.scoring.reading import Reading, ScoreMap, Seen
from cambench.bench.host.allocator import keep_freed_memory
from cambench.protocol import PAPER

OTHERS = ("slim_vgg_gap", "slim_resnet", "slim_inception", "efficientnet_lite0")
NETWORKS = {"slim_vgg": 1.2} | dict.fromkeys(OTHERS, 1.08)
"""Network -> the target, in plain forwards."""
METHODS = ("{cam,gradcam,gradcam++,xgradcam,layercam}/*", "{random,center,uniform}/softmax")
BATCH = 32
T = TypeVar("T")


def timed(do: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds, as a busy machine stretches the wall clock, and what was made."""
    begun = time.process_time()
    made = do()
    return time.process_time() - begun, made


def row(name: str, target: float, rounds: int) -> str:
    """Forward, heads and maps of a network, then resizing and min-max of the same maps; medians of the rounds."""
    torch.manual_seed(0)
    network = open_backbone(name, num_classes=None).freeze()
    network.heads["sigmoid"] = network.fresh_head("sigmoid")
    plan = plan_backbone(name, expand_patterns([f"{name}/{m}" for m in METHODS]), network, PAPER)
    reading, ids = Reading(network, PAPER), [str(i) for i in range(BATCH)]
    images = torch.randint(0, 256, (BATCH, 3, 224, 224), dtype=torch.uint8)
    several = [(t.cam, HEADS.get(t.head).branch) for t in plan.maps]

    def maps(seen: Seen) -> list[ScoreMap]:
        made = []
        for number, (key, triple) in enumerate(zip(several, plan.maps, strict=True)):
            method, evidence = CAMS.get(triple.cam), seen.evidence(key[1])
            if several.count(key) > 1 and several.index(key) == number:
                evidence.keep(method.fn)
            made.append(seen.score_map(method, HEADS.get(triple.head)))
        return made

    found = []
    for _ in range(rounds + 1):
        seen = reading.see(images, ids, None)
        forward, _ = timed(lambda: reading.see(images, ids, None))
        mapping, made = timed(partial(maps, seen))
        located, _ = timed(partial(list, map(ScoreMap.locate, made)))
        found.append((forward, 1 + mapping / forward, located / forward))
    forward, whole, located = (statistics.median(values) for values in zip(*found[1:], strict=True))
    least, most = min(f[1] for f in found[1:]), max(f[1] for f in found[1:])
    return (
        f"| {name} | {len(plan.maps)} | {1e3 * forward / BATCH:.2f} | {whole:.3f} ({least:.3f} to {most:.3f}) "
        f"| ≤ {target} | {located:.3f} |"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    print("## All maps of a batch\n")
    load = f"{os.getloadavg()[0]:.1f}"
    print(f"{datetime.now(UTC).date()}, one thread of {os.cpu_count()}, processor time, load average {load};")
    print(f"batch of {BATCH}; medians (range) of {given.rounds} rounds, forward and maps in turns.\n")
    print("| network | maps | forward, ms/image | all maps, in forwards | target | resize and min-max, in forwards |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, target in NETWORKS.items():
        print(row(name, target, given.rounds), flush=True)
    print(f"\nReproduce: `python tests/benchmarks/map_ratios.py --rounds {given.rounds}`.")


if __name__ == "__main__":
    main()
