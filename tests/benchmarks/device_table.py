"""Speed of a device: what ten triples and their fidelity cost in forwards of the same batch, box engines, kernels.

Usage: python tests/benchmarks/device_table.py [--device cuda] [--network resnet50] [--batch 64] > FILE.md
Without a GPU it runs as well, on the CPU, with a small network and batch: --network slim_resnet --batch 4 --rounds 2.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from cambench.baselines.backbones import open_backbone
from cambench.baselines.cams import CAMS
from cambench.baselines.contracts import HEADS, Backbone
from cambench.bench.engine.networks import same_numbers
from cambench.bench.engine.planning.plan import BackbonePlan, plan_backbone
from cambench.bench.engine.planning.triples import expand_patterns
from cambench.bench.engine.run_record import device_name
from cambench.bench.engine.scoring.clock import StageClock
from cambench.bench.engine.scoring.onepass import OnePass
from cambench.bench.engine.scoring.pass_boxes import BoxEngine
from cambench.bench.engine.scoring.reading import Reading
from cambench.bench.engine.scoring.scope import Scoring
from cambench.bench.host.allocator import keep_freed_memory
from cambench.bench.host.device import pick_device
from cambench.bench.host.dtypes import Compile, Dtype
from cambench.bench.host.versions import LIBRARIES, library_versions
from cambench.bench.timing.device_checks import BuiltIn
from cambench.datasets.schema import Batch
from cambench.metrics.functional.boxes import BoxPool, level_ious, quantize
from cambench.metrics.functional.device_boxes import ENGINES, choose_engine
from cambench.protocol import PAPER

METHODS = "{cam,gradcam,gradcam++,xgradcam,layercam}/{softmax,sigmoid}"
POOL = 16
"""Threads of the CPU pool that the device engines are compared with."""
BATCHES = 3
"""Batches of a pass: what one leaves behind is waited for when the next is on its way."""
KERNELS = 15


def wait(device: torch.device) -> None:
    """Until the device is through."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def took(do: Callable[[], object], device: torch.device) -> float:
    """Wall seconds."""
    wait(device)
    begun = time.perf_counter()
    do()
    wait(device)
    return time.perf_counter() - begun


def driver(device: torch.device) -> str:
    """Version of the device's driver, where there is one."""
    if device.type != "cuda":
        return "none"
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()[0]


def opened(name: str, device: torch.device) -> tuple[Backbone, BackbonePlan]:
    """A network with fresh weights, which cost what trained ones do, and its ten triples."""
    torch.manual_seed(0)
    network = open_backbone(name, num_classes=1000, pretrained=False)
    network.heads["sigmoid"] = network.fresh_head("sigmoid", num_classes=1000)
    plan = plan_backbone(name, expand_patterns([f"{name}/{METHODS}"]), network, PAPER)
    return network.to(device).freeze(), plan


def batch_of(count: int, device: torch.device) -> Batch:
    """A decoded batch, in pinned memory where the device copies from there."""
    made = BuiltIn.of(count, PAPER.size)
    return Batch(
        image_ids=tuple(map(str, range(count))), index=torch.arange(count),
        images=made.images.pin_memory() if device.type == "cuda" else made.images,
        labels=torch.arange(count) % 1000, gt_boxes=made.boxes, masks=None, evidence=None, failures=(),
    )  # fmt: skip


def in_forwards(
    reading: Reading, plan: BackbonePlan, batch: Batch, fidelity: bool, rounds: int, engine: str
) -> tuple[float, float, BoxEngine]:
    """Seconds of a pass of some batches, and of as many plain forwards in turns with it: medians."""
    boxes = BoxEngine(engine, reading.device)
    threads = min(POOL, os.cpu_count() or 1)
    scoring = Scoring((0.3, 0.5, 0.7), True, box_threads=threads, box_engine=boxes, fidelity=fidelity)
    work = OnePass(reading, plan.maps, scoring, StageClock(reading.device))
    drawn = reading.drawn_class(batch.labels)

    def forwards() -> None:
        for _ in range(BATCHES):
            reading.see(batch.images, batch.image_ids, drawn)

    passes, plain = [], []
    try:
        # Once for the compilers, and for the box engine to prove itself.
        list(work.over([batch, batch]))
        assert not work.lost, work.lost
        for _ in range(rounds):
            plain.append(took(forwards, reading.device))
            passes.append(took(lambda: list(work.over([batch] * BATCHES)), reading.device))
            work.clock.flush()
    finally:
        work.close()
    return statistics.median(passes), statistics.median(plain), boxes


def levels_of(reading: Reading, plan: BackbonePlan, batch: Batch) -> Tensor:
    """Levels of all distinct maps of the batch, uint8 (k·B,R,R), on the device."""
    seen = reading.see(batch.images, batch.image_ids, reading.drawn_class(batch.labels))
    drawn = [seen.score_map(CAMS.get(t.cam), HEADS.get(t.head)).locate()[1] for t in plan.maps]
    return torch.cat([quantize(norm) for norm in drawn])


def box_rates(levels: Tensor, batch: Batch, rounds: int) -> dict[str, float]:
    """Milliseconds a map: of the pool on the host, and of every engine that the device can run."""
    device, count, times = levels.device, len(batch), len(levels) // len(batch)
    host = levels.cpu()
    found = {}
    with BoxPool(min(POOL, os.cpu_count() or 1)) as pool:
        size = -(-len(host) // POOL)
        boxes = list(batch.gt_boxes) * times

        def by_pool() -> None:
            parts = range(0, len(host), size)
            for job in [pool.submit(host[i : i + size], boxes[i : i + size]) for i in parts]:
                job.result()

        by_pool()
        found["pool"] = statistics.median(took(by_pool, torch.device("cpu")) for _ in range(rounds))
    for engine in ENGINES[2:]:
        try:
            choose_engine(engine, device)
        except ValueError:
            continue
        level_ious(levels, boxes, engine=engine)
        found[engine] = statistics.median(
            took(lambda: level_ious(levels, boxes, engine=engine), device)  # noqa: B023
            for _ in range(rounds)
        )
    return {name: 1e3 * seconds / (count * times) for name, seconds in found.items()}


def kernels(reading: Reading, plan: BackbonePlan, batch: Batch, engine: str) -> list[str]:
    """Rows of the operators (on a GPU: kernels) that a localisation-only batch spends its time in."""
    device = reading.device
    scoring = Scoring((0.3, 0.5, 0.7), True, box_engine=BoxEngine(engine, device), fidelity=False)
    work = OnePass(reading, plan.maps, scoring, StageClock(device))
    gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    try:
        list(work.over([batch, batch]))
        with profile(activities=activities) as seen:
            list(work.over([batch]))
            wait(device)
    finally:
        work.close()
    key = "self_device_time_total" if gpu else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda e: getattr(e, key), reverse=True)
    whole = sum(getattr(e, key) for e in events)
    return [
        f"| `{e.key[:70]}` | {e.count} | {getattr(e, key) / 1e3:.2f} | {100 * getattr(e, key) / whole:.1f} % |"
        for e in events[:KERNELS]
    ]


def markdown(
    device: torch.device, name: str, count: int, rounds: int, compiled: Compile = "no", dtype: Dtype = "float32"
) -> str:
    """The report of one run."""
    keep_freed_memory()
    network, plan = opened(name, device)
    reading, batch = Reading(network, PAPER, compile=compiled, dtype=dtype), batch_of(count, device)
    filled = Reading(network, PAPER, compile=compiled, dtype=dtype, fill_chunks=True)
    distinct = len(plan.maps)
    engines = [e for e in ENGINES[2:] if e == "tensor" or device.type == "cuda"] if device.type != "cpu" else ["cpu"]
    rows, served = [], []
    with same_numbers(device, dtype):
        for engine in engines:
            fidelity, most = f"boxes and fidelity, 1 + {distinct} forwards", (1 + distinct) * 1.05
            for scored, how, what, target in (
                (False, reading, "boxes alone", 1.15),
                (True, reading, fidelity, most),
                (True, filled, f"{fidelity}, chunks of {filled.chunk_bytes >> 20} MiB filled", most),
            ):
                passed, plain, boxes = in_forwards(how, plan, batch, scored, rounds, engine)
                each = f"{1e3 * passed / BATCHES / count:.3f} | {1e3 * plain / BATCHES / count:.3f}"
                rows.append(f"| {what}, engine {engine} | {each} | {passed / plain:.2f} | ≤ {target:.2f} |")
                tally = boxes.since()
                served.append(f"{what}, asked {engine}: {dict(tally.served)} {dict(tally.notes) or ''}".strip())
        times = box_rates(levels_of(reading, plan, batch), batch, rounds)
        profiled = kernels(reading, plan, batch, engines[-1])
    found = {"python": platform.python_version(), **library_versions(LIBRARIES)}
    threads = min(POOL, os.cpu_count() or 1)
    options = {"compile": (compiled, "no"), "dtype": (dtype, "float32")}
    changed = [f" --{option} {value}" for option, (value, usual) in options.items() if value != usual]
    return "\n".join([
        f"# {name} on {device_name(device)}",
        "",
        f"- date: {datetime.now(UTC).isoformat(timespec='minutes')}",
        f"- device: {device_name(device)}, driver {driver(device)}",
        f"- host: {os.cpu_count()} cores, {platform.machine()}, load average {os.getloadavg()[0]:.1f}",
        f"- versions: {', '.join(f'{k} {v}' for k, v in found.items())}",
        f"- batch of {count} at {PAPER.size}×{PAPER.size}, {dtype}, --compile {compiled}, fresh weights; "
        f"{len(plan.triples)} triples,",
        f"  {distinct} distinct maps; medians of {rounds} rounds of {BATCHES} batches, pass and forward in turns",
        *(f"- maps by engine: {line}" for line in served),
        *([] if device.type != "cpu" else ["", "The targets are of a GPU; on a CPU this shows that the script runs."]),
        "",
        "| pass | ms/image | plain forward, ms/image | forwards | target |",
        "|---|---:|---:|---:|---:|",
        *rows,
        "",
        f"| box curves, engine on the device | ms/map | {threads} threads of the host, ms/map | ratio | target |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {n} | {times[n]:.3f} | {times['pool']:.3f} | {times['pool'] / times[n]:.2f} | ≥ 20 |"
            for n in times
            if n != "pool"
        ),
        "",
        "| operator or kernel of a batch, boxes alone | calls | ms | share |",
        "|---|---:|---:|---:|",
        *profiled,
        "",
        f"Reproduce: `python tests/benchmarks/device_table.py --device {device.type} --network {name} --batch {count} "
        f"--rounds {rounds}{''.join(changed)}`.",
    ])  # fmt: skip


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", default="no", choices=("no", "kernels", "graphs"))
    parser.add_argument("--dtype", default="float32", choices=get_args(Dtype))
    given = parser.parse_args()
    device = torch.device(pick_device(given.device))
    print(markdown(device, given.network, given.batch, given.rounds, given.compile, given.dtype))


if __name__ == "__main__":
    main()
