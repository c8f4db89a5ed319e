"""What a run would take: its tasks, and their time and disk from a few timed batches; nothing is written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ...baselines.contracts import Backbone
from ...datasets.batches import load_batches
from ...datasets.schema import Batch
from ...plugins import load_plugin
from ...results.records.columns import check_columns
from ...results.records.manifest import RunManifest
from ...results.records.parts import write_part
from ..host.device import pick_device
from .backbone_pass import reading_of
from .networks import same_numbers
from .planning.config import RunConfig, map_bytes
from .prepare import Prepared, prepare
from .scoring.clock import StageClock
from .scoring.onepass import OnePass
from .scoring.pass_boxes import BoxEngine
from .scoring.scope import Rows, Scoring

BATCHES = 3
"""Timed batches of each network, beside a first one that warms up."""


@dataclass(frozen=True)
class Task:
    """Work that any worker may do at any time, and more than once, to the same files."""

    kind: str
    """``head`` (one for each branch that is to be trained), ``shards`` (of a network) or ``tables``."""
    what: str
    count: int
    """Pieces that workers share."""
    images: int
    forwards: float
    """Passes of the network over its images: one, and one for the masked images of each distinct map."""
    seconds: float
    """On one device as this machine has it."""
    record_bytes: int = 0


def tasks(config: RunConfig) -> list[Task]:
    """The tasks of a run in the order of their needs; a few batches of each network are computed for their time.

    Heads that are to be trained are timed as one pass over the training images; what is on disk already is not left
    out. The tables come last, and their time is not estimated.

    Raises:
        UsageError, UnknownNameError, DatasetError, WeightsError, RunError: As of the run.
    """
    for file in config.plugins:
        load_plugin(file)
    config = config if config.workers else config.model_copy(update={"workers": 1})
    device = torch.device(pick_device(config.device))
    ready = prepare(config, device, config.processes or 1, lambda _: None)
    found: list[Task] = []
    with same_numbers(device, config.dtype):
        for name in ready.plans:
            found += _of_network(config, ready, name, device)
    if ready.bare.triples:
        found.append(Task("shards", ready.bare.name, ready.manifest.shards, len(ready.table), 0.0, 0.0))
    return [*found, Task("tables", str(config.out), 1, 0, 0.0, 0.0)]


def _of_network(config: RunConfig, ready: Prepared, name: str, device: torch.device) -> Iterator[Task]:
    network, plan, manifest = ready.networks.pop(name).to(device), ready.plans[name], ready.manifest
    missing = [b for b in ready.branches[name] if b not in network.heads or (b == "softmax" and network.needs_training)]
    missing = [b for b in missing if b not in ready.keeper.take(name, network, ready.branches[name])]
    for branch in missing:
        if branch not in network.heads:
            # What it computes does not matter, and a trained one takes as long.
            network.heads[branch] = network.fresh_head(branch, num_classes=network.num_classes).to(device)
    seconds, forward, rows = _timed(config, ready, name, network, device)
    images, maps = len(ready.table), len(plan.maps)
    if missing:
        training = len(config.source.of("train").open())
        for branch in missing:
            yield Task("head", f"{name} {branch}", 1, training, 1.0, training * forward)
    row = _row_bytes(rows, manifest)
    yield Task("shards", name, manifest.shards, images, 1.0 + maps, images * seconds, round(images * maps * row))


def _timed(
    config: RunConfig, ready: Prepared, name: str, network: Backbone, device: torch.device
) -> tuple[float, float, list[Rows]]:
    """Seconds an image of the whole pass, and of the forward alone; the columns of the timed images."""
    reading = reading_of(config, network, ready.manifest.protocol)
    scoring = Scoring(
        iou_thresholds=ready.manifest.hit_thresholds,
        has_boxes=ready.table.has_boxes,
        measures=ready.measures,
        map_bytes=map_bytes(config.keep_maps, len(ready.table)),
        box_threads=config.box_threads,
        fidelity=config.fidelity,
        box_engine=BoxEngine(config.box_engine, device),
    )
    clock = StageClock(device)
    engine = OnePass(reading, ready.plans[name].maps, scoring, clock)
    rules, count = ready.manifest.protocol, config.batch_size

    def batches(first: int, last: int) -> Iterator[Batch]:
        rows = range(min(first, len(ready.table) - 1), min(last, len(ready.table)))
        return iter(load_batches(ready.table, rows, rules.size, count, config.workers, crop_from=rules.crop_from))

    try:
        list(engine.over(batches(0, count)))
        clock.flush()
        begun = time.perf_counter()
        found = list(engine.over(batches(count, count * (1 + BATCHES))))
        sample, seconds = clock.flush(), time.perf_counter() - begun
    finally:
        engine.close()
    images = max(1, sample.images)
    return seconds / images, sample.stages().get("forward", 0.0) / 1e3 / images, found


def _row_bytes(rows: list[Rows], manifest: RunManifest) -> float:
    """Bytes on disk of one image and triple, from the parts that the timed images would make."""
    total, count = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for triple in rows[0] if rows else ():
            pieces = [piece[triple] for piece in rows]
            columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
            checked = check_columns(str(triple), columns, manifest)
            total += write_part(Path(folder) / "part.parquet", checked, "").bytes
            count += len(checked["index"])
    return total / max(1, count)
