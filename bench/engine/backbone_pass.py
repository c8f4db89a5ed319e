"""The pass of one backbone over the shards that are not on disk, and the records and costs that come of it."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...baselines.cams import CamMethod
from ...baselines.contracts import Backbone, HeadSpec
from ...datasets.batches import load_batches
from ...datasets.schema import Batch, ImageFailure, SampleTable
from ...metrics import MetricSpec
from ...progress import progress
from ...protocol import Protocol
from ...results.records.columns import empty_columns
from ...results.records.markers import LOST_METRIC
from ...results.records.store import RunStore
from ...results.records.timings import BackboneTiming, Timings
from ...triple import Triple
from ..host.device import peak_memory_mib
from ..maps.given_method import folder_of
from .planning.config import RunConfig, map_bytes
from .planning.plan import BackbonePlan
from .run_record import device_name
from .scoring.clock import Sample, StageClock, backbone_timing, triple_timings
from .scoring.onepass import OnePass
from .scoring.pass_boxes import BoxEngine
from .scoring.reading import Reading, ScoreMap, folder_score_map
from .scoring.scope import Columns, Rows, Scoring
from .scoring.without_network import BareReading

NO_DROP = "Average Drop is left out, as it is a share of the image's class score, which is 0"


@dataclass(frozen=True)
class PassRequest:
    """What the passes of all backbones of a run share.

    Attributes:
        config: The request.
        store: The open run folder.
        table: Samples of the split.
        measures: Further metrics.
        boxes: What computes boxes.
        clock: Takes the time of every stage.
        rank: Number of this process among ``world``, which share the shards.
        left: Backbone -> shards that other processes were at work on when this one came to them.
    """

    config: RunConfig
    store: RunStore
    table: SampleTable
    measures: tuple[MetricSpec, ...]
    boxes: BoxEngine
    clock: StageClock
    rank: int
    world: int
    left: dict[str, list[int]] = field(default_factory=dict)

    def shards(self, backbone: str) -> list[int]:
        """The shards to look at, in order: those that were left to others, or all of them.

        Every process of a launch begins at a place of its own and goes round, so that each reads images that lie
        together and takes what slower ones have not come to.
        """
        count = self.store.manifest.shards
        first = self.rank * count // self.world
        return list(dict.fromkeys(self.left.get(backbone, [*range(first, count), *range(first)])))


def run_pass(
    request: PassRequest, network: Backbone, plan: BackbonePlan, timings: Timings
) -> tuple[float, dict[str, str]]:
    """Compute what is not on disk of a backbone's shards; shards that lack the same triples go through one engine.

    Returns:
        Wall seconds (0 where nothing was left to do), and what failed -> why; ``request.left`` has what others do.
    """
    reading = reading_of(request.config, network, request.store.manifest.protocol)
    return _run_groups(request, reading, plan, timings)


def reading_of(config: RunConfig, network: Backbone, protocol: Protocol) -> Reading:
    """How a run reads a network, which is frozen."""
    return Reading(
        network.freeze(),
        protocol,
        dtype=config.dtype,
        channels_last=config.channels_last,
        compile=config.compile,
        chunk_bytes=config.chunk_mib * 2**20,
        fill_chunks=config.fill_chunks,
    )


def _run_groups(
    request: PassRequest, reading: Reading, plan: BackbonePlan, timings: Timings
) -> tuple[float, dict[str, str]]:
    groups = _missing(request, plan)
    begun, lost = time.monotonic(), dict[str, str]()
    request.left[plan.name] = []
    if not groups:
        return 0.0, lost
    for (missing, metrics), shards in groups.items():
        maps = [triple for triple in missing if triple not in lost]
        if maps and not (metrics and all(f"{LOST_METRIC}{name}" in lost for name in metrics)):
            lost |= _Pass(request, reading, plan, maps, lost, metrics).run(shards, timings)
    _say(plan.name, reading.notes)
    return time.monotonic() - begun, lost


def _say(backbone: str, notes: Iterable[str]) -> None:
    for note in notes:
        warnings.warn(f"{backbone}: {note}", RuntimeWarning, stacklevel=3)


def run_bare_pass(
    request: PassRequest, device: torch.device, plan: BackbonePlan, timings: Timings
) -> tuple[float, dict[str, str]]:
    """As ``run_pass``, of maps that no network stands behind."""
    protocol = request.store.manifest.protocol

    def maps_of(method: CamMethod, _: HeadSpec, image_ids: Sequence[str]) -> ScoreMap:
        folder = folder_of(method)
        assert folder is not None
        return folder_score_map(method, folder, image_ids, device, protocol)

    return _run_groups(request, BareReading(protocol, device, maps_of), plan, timings)


def _missing(request: PassRequest, plan: BackbonePlan) -> dict[tuple[tuple[Triple, ...], tuple[str, ...]], list[int]]:
    """The unfinished shards that this process has to look at, by the triples that they lack.

    With the metrics, where they lack these alone.
    """
    found: dict[tuple[tuple[Triple, ...], tuple[str, ...]], list[int]] = {}
    for shard in request.shards(plan.name):
        wanted: dict[tuple[str, ...], set[str]] = {}
        if lacking := request.store.lacking(plan.name, shard, plan.maps):
            wanted[()] = set(lacking)
        for triple, metrics in request.store.lacking_metrics(plan.name, shard, plan.maps).items():
            wanted.setdefault(tuple(metrics), set()).add(triple)
        for names, triples in wanted.items():
            found.setdefault((tuple(t for t in plan.maps if t in triples), names), []).append(shard)
    return found


class _Pass:
    """One engine over some shards of one backbone; with ``metrics``, for these columns of records that lack them."""

    def __init__(
        self,
        request: PassRequest,
        reading: Reading,
        plan: BackbonePlan,
        maps: Sequence[Triple],
        lost: dict[str, str],
        metrics: Sequence[str] = (),
    ) -> None:
        config, table = request.config, request.table
        self.request, self.reading, self.plan = request, reading, plan
        scoring = Scoring(
            iou_thresholds=request.store.manifest.hit_thresholds,
            has_boxes=table.has_boxes,
            measures=tuple(
                m
                for m in request.measures
                if f"{LOST_METRIC}{m.name}" not in lost and (not metrics or m.name in metrics)
            ),
            map_bytes=map_bytes(config.keep_maps, len(table)),
            box_threads=config.box_threads,
            measures_only=bool(metrics),
            fidelity=config.fidelity,
            box_engine=request.boxes,
        )
        self._metrics = metrics
        self.engine = OnePass(reading, maps, scoring, request.clock)
        self._before = {what: why for what, why in lost.items() if what.startswith(LOST_METRIC)}

    def run(self, shards: Sequence[int], timings: Timings) -> dict[str, str]:
        """Write the shards; returns what was lost on the way, after which its records are not made any more."""
        request, engine, name = self.request, self.engine, self.plan.name
        begun, samples = time.monotonic(), list[Sample]()
        images = sum(len(request.store.manifest.rows_of(s)) for s in shards)
        try:
            with progress(f"{name}: {len(engine.maps)} maps", images) as bar:
                for shard in shards:
                    with request.store.claim(name, shard) as mine:
                        if not mine:
                            # Nobody could say when the other one is through.
                            request.left[name] += [shard] if request.store.sees_others else []
                        elif self._still_missing(shard):
                            samples += self._write(shard, bar.advance)
                    if not engine.alive:
                        break
        finally:
            engine.close()
        if samples and not isinstance(self.reading, BareReading):
            self._time(samples, time.monotonic() - begun, timings)
        return engine.lost

    def _still_missing(self, shard: int) -> bool:
        """Whether nobody has written a shard since this process looked."""
        store = self.request.store
        look = store.lacking_metrics if self._metrics else store.lacking
        return self.request.world == 1 or bool(look(self.plan.name, shard, self.engine.maps))

    def _write(self, shard: int, advance: Any) -> list[Sample]:
        """Compute and write a shard; returns what a whole one took."""
        before = Counter(self.reading.notes)
        rows, failures = self._shard(shard, advance)
        if self._metrics:
            self._add_metrics(shard, rows if self.engine.alive else {})
            return []
        sample = self.request.clock.flush()
        stages = {stage: ms / 1e3 for stage, ms in sample.stages().items()}
        boxes, lost = self.request.boxes.since(), {**self._before, **self.engine.lost}
        _say(self.plan.name, boxes.notes)
        notes = self.reading.notes - before + boxes.notes + _without_drop(rows)
        records = {str(t): c for t, c in rows.items()}
        self.request.store.write_shard(self.plan.name, shard, records, failures, stages, notes, lost, boxes.served)
        return [sample]

    def _add_metrics(self, shard: int, rows: Rows) -> None:
        """The columns of the metrics, into records that lacked them."""
        self.request.clock.flush()
        lost = {**self._before, **{what: why for what, why in self.engine.lost.items() if what.startswith(LOST_METRIC)}}
        lost = {what: why for what, why in lost.items() if what.removeprefix(LOST_METRIC) in self._metrics}
        self.request.store.add_metrics(self.plan.name, shard, {str(t): c for t, c in rows.items()}, lost)

    def _shard(self, shard: int, advance: Any) -> tuple[Rows, list[ImageFailure]]:
        """Columns of every triple that is not lost over a shard, and the images that cannot be read."""
        config, manifest = self.request.config, self.request.store.manifest
        failures: list[ImageFailure] = []

        def batches() -> Iterator[Batch]:
            pin = self.reading.device.type == "cuda"
            rows, rules = manifest.rows_of(shard), manifest.protocol
            for batch in load_batches(
                self.request.table,
                rows,
                rules.size,
                config.batch_size,
                config.workers,
                pin=pin,
                crop_from=rules.crop_from,
            ):
                failures.extend(batch.failures)
                yield batch
                advance(len(batch) + len(batch.failures))

        pieces = list(self.engine.over(batches()))
        alive = [triple for triple in self.engine.maps if triple not in self.engine.lost]
        if not pieces:
            return {triple: empty_columns(manifest) for triple in alive}, failures
        return {triple: _joined([piece[triple] for piece in pieces]) for triple in alive}, failures

    def _time(self, samples: Sequence[Sample], seconds: float, timings: Timings) -> None:
        """Put the measured costs into ``timings``; a pass of some triples alone does not speak for the backbone."""
        request, maps = self.request, self.engine.maps
        kept = [t for t in maps if t not in self.engine.lost]
        timings.triples.update(triple_timings(samples, kept))
        stored = request.store.manifest.timings.backbones
        if len(maps) < len(self.plan.maps) and self.plan.name in {**stored, **timings.backbones}:
            return
        device, images = self.reading.device, sum(s.images for s in samples)
        shared = BackboneTiming(
            device=device_name(device),
            dtype=request.config.dtype,
            channels_last=request.config.channels_last,
            compile=request.config.compile,
            batch_size=request.config.batch_size,
            threads=torch.get_num_threads(),
            images=images,
            images_per_s=images / seconds,
            map_pairs=len(self.plan.triples),
            distinct_maps=len(maps),
            feature_shape=self.engine.feature_shape,
            peak_memory_mib=peak_memory_mib(device),
            peak_memory_of="device" if device.type == "cuda" else "host",
        )
        timings.backbones[self.plan.name] = backbone_timing(samples, "shard", shared)


def _joined(pieces: Sequence[Columns]) -> Columns:
    """The columns of all pieces below one another; one that a metric lost on the way is in none."""
    names = [name for name in pieces[0] if all(name in piece for piece in pieces)]
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in names}


def _without_drop(rows: Rows) -> Counter[str]:
    """A note of the images that leave a network without an Average Drop: their class score is no triple's own."""
    y = next((columns["y"] for columns in rows.values() if "y" in columns), None)
    zeros = 0 if y is None else int((y == 0).sum())
    return Counter({NO_DROP: zeros} if zeros else {})
