"""``cambench time --stage load``: the input pipeline and the forward that it has to feed, in turns, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ...datasets.batches import load_batches
from ...datasets.schema import Batch, SampleTable
from ..engine.planning.config import RunConfig
from ..engine.scoring.onepass import OnePass
from ..host.errors import RunError

LOAD_BATCHES = 8
"""Batches that the pipeline delivers in a round: it is started anew each time, which this many make up for."""


class LoadTiming(BaseModel):
    """The input pipeline alone and a plain forward, measured in turns; medians over rounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(ge=1)
    """Decoding threads."""
    rounds: int = Field(ge=1)
    images_per_s: float = Field(ge=0)
    """Decode, resize and assemble, nothing else running."""
    forward_images_per_s: float = Field(ge=0)
    """One plain forward without autograd, nothing else running."""
    ratio: float = Field(ge=0)
    """Images/s of the pipeline as a multiple of the forward's: the median of the rounds' own ratios."""
    ratio_iqr: float = Field(ge=0)


def load_rate(table: SampleTable, config: RunConfig, first: int, batches: int) -> tuple[list[Batch], float]:
    """Batches from row ``first`` on (rows repeat), and images per second from the pipeline's start to its end.

    Raises:
        RunError: An image cannot be read.
    """
    rules, count = config.protocol_object, config.batch_size
    rows = [(first + r) % len(table) for r in range(batches * count)]
    start = time.perf_counter()
    found = list(load_batches(table, rows, rules.size, count, config.workers, crop_from=rules.crop_from))
    rate = len(rows) / (time.perf_counter() - start)
    for batch in found:
        if batch.failures:
            raise RunError(f"{table.name}: {batch.failures[0].image_id} cannot be read; time on readable images")
    return found, rate


def time_load(
    engine: OnePass, table: SampleTable, config: RunConfig, rounds: int, advance: Callable[[], object]
) -> LoadTiming:
    """Load and forward in turns: ``rounds`` rounds after one of warm-up. ``engine`` has no maps to compute."""
    loads: list[float] = []
    forwards: list[float] = []
    for number in range(rounds + 1):
        ready, rate = load_rate(table, config, number * LOAD_BATCHES * config.batch_size, LOAD_BATCHES)
        engine.begin(ready[0])
        sample = engine.clock.flush()
        if number:
            loads.append(rate)
            forwards.append(1e3 * sample.images / sample.stages()["forward"])
        advance()
    ratios = np.array(loads) / np.array(forwards)
    low, middle, high = np.percentile(ratios, [25, 50, 75])
    return LoadTiming(
        workers=config.workers,
        rounds=rounds,
        images_per_s=float(np.median(loads)),
        forward_images_per_s=float(np.median(forwards)),
        ratio=float(middle),
        ratio_iqr=float(high - low),
    )
