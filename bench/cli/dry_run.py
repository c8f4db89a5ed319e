"""``cambench run --dry-run``: what it would take."""

from __future__ import annotations

from ...consoles import out
from ..engine.planning.config import RunConfig


def show(config: RunConfig) -> None:
    """Print tasks, images, forwards, bytes of records and hours, on as many devices as the request has processes."""
    from ..engine.forecast import BATCHES, tasks
    from ..executors.crew import placed

    config, _ = placed(config)
    found, workers = tasks(config), config.processes or 1
    for task in found:
        cost = f": {task.images:,} images × {task.forwards:g} forwards, {duration(task.seconds)}" if task.images else ""
        disk = f", {task.record_bytes / 2**20:,.1f} MiB of records" if task.record_bytes else ""
        pieces = f" in {task.count:,} pieces" if task.count > 1 else ""
        out.print(f"  {task.kind} {task.what}{pieces}{cost}{disk}", soft_wrap=True, markup=False)
    # A head is one worker's; shards are shared, down to the last one.
    shared = sum(t.seconds for t in found if t.kind == "shards") / workers
    alone = max((t.seconds for t in found if t.kind == "head"), default=0.0)
    alone = max(alone, sum(t.seconds for t in found if t.kind == "head") / workers)
    names = "1 device like this machine's" if workers == 1 else f"{workers} devices like this machine's"
    out.print(
        f"in all about {duration(shared + alone)} on {names}, from {BATCHES} timed batches a network; starting, "
        "decoding that does not keep up, and tables aside. Nothing was written",
        soft_wrap=True, markup=False,
    )  # fmt: skip


def duration(seconds: float) -> str:
    """Seconds in the unit that people would say them in."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
