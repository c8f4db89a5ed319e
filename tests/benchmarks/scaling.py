"""Two workers beside one on every engine, as a Markdown table: ``OMP_NUM_THREADS=1 python scaling.py [ENGINE…]``.

From the first finished shard to the last, so that starting an engine does not count. One worker has one core and two
have two: a worker decodes in a second thread, so that one alone would otherwise use more than the core it is compared
by. On a machine with other work the wall says little: a worker's own seconds are its wall less the time that its main
thread was ready and had no core (``/proc/PID/schedstat``), which is what it would take on a core of its own. Linux
only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

RUN = {
    "dataset": "synthbirds",
    "triples": ["slim_*/{cam,gradcam,layercam}/softmax"],
    "limit": 160,
    "shard_size": 8,
    "workers": 1,
    "box_threads": 1,
    "device": "cpu",
}
ENGINES = {"local": "local", "torchrun": "torchrun", "ray": "ray", "slurm": "slurm:local"}
SECONDS_OF_NANO = 1e-9


@dataclass
class Spent:
    """Seconds of a worker since its start."""

    wall: float
    cpu: float
    waited: float


def command(engine: str, world: int, out: Path) -> list[str]:
    file = out.with_name("run.json")
    file.write_text(json.dumps(RUN), encoding="utf-8")
    program = ["-m", "cambench", "run", "--config", str(file), "--out", str(out)]
    if engine == "torchrun":
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
        return [sys.executable, *launcher, *program, "--on", "torchrun"]
    options = ["--on-option", "num_cpus=1"] if engine == "ray" else []
    return [sys.executable, *program, "--on", ENGINES[engine], "--processes", str(world), *options]


def workers(out: Path) -> list[int]:
    """Process numbers of those that hold the run folder."""
    found = []
    for file in out.glob(".lock*.holder"):
        try:
            found.append(int(file.read_text().split()[0]))
        except (OSError, ValueError, IndexError):
            continue
    return found


def spent(process: int) -> Spent | None:
    try:
        times = psutil.Process(process).cpu_times()
        waited = int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) * SECONDS_OF_NANO
    except (psutil.Error, OSError):
        return None
    return Spent(time.monotonic(), times.user + times.system, waited)


def shards(out: Path) -> int:
    return sum(1 for file in (out / "shards").rglob("*") if file.is_file() and not file.name.startswith("."))


@contextmanager
def cores(count: int) -> Iterator[None]:
    """What is started inside has the first ``count`` cores of this process, and hands them on to what it starts."""
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(own)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def measure(engine: str, world: int, out: Path) -> tuple[float, float, float, float]:
    """Shards a second by the wall; shards a second on cores of their own; CPU seconds a shard; share of waiting."""
    log = out.with_name("log")
    with log.open("w") as said, cores(world):
        process = subprocess.Popen(command(engine, world, out), stdout=said, stderr=subprocess.STDOUT)
    first: dict[int, tuple[int, Spent]] = {}
    last: dict[int, tuple[int, Spent]] = {}
    while process.poll() is None:
        time.sleep(0.05)
        done = shards(out) if out.is_dir() else 0
        now = {pid: used for pid in workers(out) if (used := spent(pid)) is not None} if done else {}
        # All of them at work, and not yet at the tables.
        if len(now) == world and not (out / "tables").exists():
            for pid, used in now.items():
                first.setdefault(pid, (done, used))
                if not last or done > last.get(pid, (0, used))[0]:
                    last[pid] = done, used
    assert process.returncode == 0, log.read_text()[-2000:]
    assert len(first) == world, f"{engine}: saw {len(first)} of {world} workers"
    pid = next(iter(first))
    count = last[pid][0] - first[pid][0]
    walls = [last[p][1].wall - first[p][1].wall for p in first]
    waits = [last[p][1].waited - first[p][1].waited for p in first]
    cpu = sum(last[p][1].cpu - first[p][1].cpu for p in first)
    own = max(wall - wait for wall, wait in zip(walls, waits, strict=True))
    return count / max(walls), count / own, cpu / count, sum(waits) / sum(walls)


def main(engines: list[str]) -> None:
    print("| engine | workers | shards/s, wall | shards/s, own cores | CPU s a shard | ready without a core |")
    print("| :-- | --: | --: | --: | --: | --: |")
    for engine in engines:
        found = []
        for world in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                found.append(measure(engine, world, Path(folder) / "run"))
            wall, own, cpu, waited = found[-1]
            print(f"| {engine} | {world} | {wall:.2f} | {own:.2f} | {cpu:.3f} | {100 * waited:.0f} % |", flush=True)
        (wall1, own1, cpu1, _), (wall2, own2, cpu2, _) = found
        print(
            f"| {engine} | 2 beside 1 | {wall2 / wall1:.2f}× | {own2 / own1:.2f}× | {cpu2 / cpu1:.2f}× | |", flush=True
        )


if __name__ == "__main__":
    main(sys.argv[1:] or list(ENGINES))
