"""Draws synthbirds rows in helper processes that know nothing of torch, or in this one where they cannot be had."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from .render import draw, png

CHUNK = 12
"""Rows drawn between two messages of a helper."""
MAX_WORKERS = 16


@dataclass(frozen=True)
class Job:
    """What is drawn: rows 0 … ``count``-1 of a split, ``side`` pixels wide and high."""

    seed: int
    split: str
    side: int
    count: int


def draw_row(job: Job, index: int) -> dict[str, Any]:
    """One row, following ``sample_features``."""
    picture = draw(job.seed, job.split, index, job.side)
    return {
        "image_id": f"{job.split}/{index:05d}.png",
        "image": {"bytes": png(picture.image), "path": None},
        "label": picture.label,
        "width": job.side,
        "height": job.side,
        "boxes": [list(picture.box)],
        "masks": [{"bytes": png(picture.mask), "path": None}],
        "ignore": None,
        "evidence": {"bytes": png(picture.evidence), "path": None},
    }


def draw_chunk(job: Job, start: int) -> list[dict[str, Any]]:
    """Rows ``start`` … ``start + CHUNK - 1``, as far as there are any."""
    return [draw_row(job, i) for i in range(start, min(start + CHUNK, job.count))]


def draw_rows(job: Job, workers: int | None = None) -> Iterator[list[dict[str, Any]]]:
    """All rows in order, in chunks, drawn by helper processes (default: one a usable core).

    Helpers are plain subprocesses rather than a process pool: a pool would need ``if __name__ == "__main__"`` in
    every caller's script, or fork a process that holds torch's threads.
    """
    starts = range(0, job.count, CHUNK)
    wanted = usable_cores() if workers is None else workers
    helpers = [_start(job, k, min(wanted, len(starts))) for k in range(min(wanted, len(starts)))] if wanted > 1 else []
    try:
        for turn, start in enumerate(starts):
            helper = helpers[turn % len(helpers)] if helpers else None
            yield _receive(helper) or draw_chunk(job, start)
    finally:
        for helper in helpers:
            helper.kill()
            if helper.stdout is not None:
                helper.stdout.close()
            helper.wait()


def usable_cores() -> int:
    """Cores this process may use, at most ``MAX_WORKERS``."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(count, MAX_WORKERS)


def _start(job: Job, first: int, step: int) -> subprocess.Popen[bytes]:
    arguments = [str(v) for v in (*asdict(job).values(), first, step)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "cambench.datasets.adapters.synthbirds.worker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def _receive(helper: subprocess.Popen[bytes] | None) -> list[dict[str, Any]] | None:
    """The helper's next chunk; None where there is no helper or it died."""
    if helper is None or helper.stdout is None:
        return None
    try:
        rows: list[dict[str, Any]] = pickle.load(helper.stdout)
    except (EOFError, pickle.UnpicklingError):
        return None
    return rows


def main(arguments: list[str]) -> None:
    """Helper process: every ``step``-th chunk from chunk ``first`` on, pickled to standard output."""
    seed, split, *numbers = arguments
    side, count, first, step = (int(n) for n in numbers)
    job = Job(int(seed), split, side, count)
    for start in range(first * CHUNK, count, step * CHUNK):
        pickle.dump(draw_chunk(job, start), sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
