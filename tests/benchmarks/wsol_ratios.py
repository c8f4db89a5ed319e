"""What WSOL methods and ROAD cost beside what they need, in turns in one process, as Markdown.

Usage: python tests/benchmarks/wsol_ratios.py [--rounds N] [--network NAME …]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cambench.baselines.contracts import BACKBONES, Backbone
from cambench.baselines.wsol import WSOL, apply_method, make_method
from cambench.bench.host.allocator import keep_freed_memory
from cambench.bench.training.steps.training_method import Objective
from cambench.metrics.functional.removal import road_curves

METHODS = ("has", "cutmix", "adl", "acol", "spg")
TARGETS = {"has": "≤ 1.10", "cutmix": "≤ 1.10", "adl": "≤ 1.10", "acol": "≤ 1.5", "spg": "≤ 1.5"}
BATCHES = {"slim_vgg_gap": 16, "slim_resnet": 16, "slim_inception": 16}
BATCH, CLASSES, ROAD_BATCH = 2, 12, 4
SHARES = (10, 20, 30, 40, 50, 60, 70, 80, 90)
Call = Callable[[], object]


def in_turns(calls: dict[str, Call], rounds: int) -> dict[str, list[float]]:
    """Processor seconds of each call (a busy machine stretches the wall clock), by round; the first is dropped."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    return {name: values[1:] for name, values in seconds.items()}


def network(name: str, method: str = "cam") -> Backbone:
    """Random parameters, changed as a training changes it."""
    torch.manual_seed(0)
    net = BACKBONES.get(name).build(CLASSES)
    apply_method(net, make_method(method))
    return net.to(memory_format=torch.channels_last).requires_grad_(True)


def step(name: str, method: str, images: Tensor, labels: Tensor) -> Call:
    """One step of a training: the method's change of the batch, loss, gradients, SGD."""
    net, way = network(name, method).train(), make_method(method)
    objective = Objective(net, way)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, nesterov=True, fused=True)

    def work() -> None:
        optimiser.zero_grad(set_to_none=True)
        inputs, targets = way.change_batch(images, labels)
        loss, _, _ = objective(inputs.contiguous(memory_format=torch.channels_last), targets)
        loss.backward()
        optimiser.step()

    return work


@torch.no_grad()
def forward(name: str, method: str, images: Tensor) -> Call:
    """The trained network at test time."""
    net = network(name, method).eval()
    return lambda: net(images)


def road(name: str) -> dict[str, Call]:
    """``road_curves`` of a few images, and the forwards that it needs."""
    torch.manual_seed(0)
    net = BACKBONES.get(name).build(CLASSES).eval()
    images = torch.rand(ROAD_BATCH, 3, 28, 28)
    images = torch.nn.functional.interpolate(images, (224, 224), mode="bicubic").clamp(0, 1)
    maps = torch.nn.functional.interpolate(torch.rand(ROAD_BATCH, 1, 7, 7), (224, 224), mode="bicubic")[:, 0]
    noise = 0.01 * torch.randn_like(images)

    def score(batch: Tensor) -> Tensor:
        return net(net.normalise(batch)).softmax(1)[:, 0]

    return {
        "forwards": lambda: [score(images) for _ in SHARES],
        "road": lambda: road_curves(score, images, maps, SHARES, noise),
    }


def operations(call: Call) -> int:
    """Floating-point operations of the convolutions and products of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def row(name: str, what: str, plain: list[float], found: list[float], target: str, demand: str = "") -> str:
    """One line of the table: median of the rounds' ratios, with their range."""
    ratios = sorted(b / a for a, b in zip(plain, found, strict=True))
    cells = (
        f"{1000 * statistics.median(plain):.1f} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    return f"| {name} | {what} | {cells} | {demand} | {target} |"


def rows(name: str, rounds: int) -> list[str]:
    """Steps and forwards of every method that can change the network, and ROAD."""
    count = BATCHES.get(name, BATCH)
    images, labels = torch.randn(count, 3, 224, 224), torch.arange(count) % CLASSES
    fits = [m for m in METHODS if WSOL.get(m)().refuses(BACKBONES.get(name).build(CLASSES)) is None]
    lines = []
    for method in fits:
        calls = {"plain": step(name, "cam", images, labels), method: step(name, method, images, labels)}
        taken = in_turns(calls, rounds)
        demand = f"{operations(calls[method]) / operations(calls['plain']):.2f}"
        lines.append(row(name, f"step of {method}", taken["plain"], taken[method], TARGETS[method], demand))
    calls = {
        method: forward(name, method, images) for method in ("cam", "has", "cutmix", "adl") if method in ["cam", *fits]
    }
    with torch.no_grad():
        taken = in_turns(calls, rounds)
        lines += [row(name, f"forward, {m}", taken["cam"], taken[m], "1") for m in calls if m != "cam"]
        taken = in_turns(road(name), rounds)
    return [*lines, row(name, "ROAD, 9 shares", taken["forwards"], taken["road"], "≤ 3")]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--network", nargs="+", default=["slim_vgg_gap", "slim_resnet", "slim_inception"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    sys.stdout.write(f"- one thread, CPU seconds, load average {os.getloadavg()[0]:.1f}\n\n")
    sys.stdout.write("| network | work | plain, ms | ratio, median (range) | operations, ratio | target |\n")
    sys.stdout.write("|---|---|---:|---:|---:|---:|\n")
    for name in options.network:
        for line in rows(name, options.rounds):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
