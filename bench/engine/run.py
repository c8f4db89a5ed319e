"""A run from configuration to tables: plan, prepare, one pass per backbone, records, leaderboard."""

from __future__ import annotations

import os
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...baselines.contracts import BACKBONES, Backbone, Branch
from ...datasets.batches.loading import load_batches
from ...datasets.open import open_table
from ...datasets.schema import Batch, ImageFailure, SampleTable
from ...metrics.spec import MetricSpec
from ...registry import load_plugin
from ...results.records.columns import empty_columns
from ...results.records.load import load_run
from ...results.records.manifest import RunManifest
from ...results.records.store import RunStore
from ...results.records.timings import BackboneTiming, Timings
from ...results.tables.leaderboard import write_leaderboard
from ...text import visible
from ...triple import Triple
from ..host.allocator import keep_freed_memory
from ..host.device import peak_memory_mib, pick_device
from ..host.errors import RunError
from ..host.memory import is_out_of_memory, memory_error
from ..host.progress import console, progress
from ..notebook.result import RunResult
from .clock import Sample, StageClock, backbone_timing, triple_timings
from .config import RunConfig, map_bytes
from .measures import choose_measures
from .onepass import BatchScores, Columns, OnePass
from .plan import BackbonePlan, left_out, needs_branch, plan_backbone
from .prepare import (
    HEAD_BRANCHES,
    HeadKeeper,
    backbone_record,
    check_labels,
    check_names,
    open_network,
    tell_warnings,
    torch_determinism,
)
from .provenance import device_name, run_manifest
from .triples import expand_patterns


def run(config: RunConfig | None = None, **fields: Any) -> RunResult:
    """Benchmark triples on a data set; continue where an earlier run on the same folder stopped.

    Args:
        config: The configuration; or give its fields as keywords (``dataset=…, triples=…, out=…``).
        **fields: Fields of ``RunConfig``.

    Raises:
        UsageError: The request is wrong (unknown field, impossible triple).
        UnknownNameError: A name that nothing has; the message lists the nearest ones.
        DatasetError, WeightsError, ResultsError, RunError: Data, weights or folder that cannot be used.
    """
    config = config or RunConfig.create(**fields)
    for file in config.plugins:
        load_plugin(file)
    device = torch.device(pick_device(config.device))
    keep_freed_memory()
    with torch_determinism():
        return _Runner(config, device).run()


class _Runner:
    """State of one run while it goes on."""

    def __init__(self, config: RunConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self.protocol = config.protocol_object
        self.rank, self.world = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1)))
        self.clock = StageClock(device)
        self.durations: dict[str, float] = {}
        self.measures: list[MetricSpec] = []

    def run(self) -> RunResult:
        started = time.monotonic()
        wanted = expand_patterns(self.config.triples)
        names = list(dict.fromkeys(w.triple.backbone for w in wanted))
        config = self.config
        check_names(config, names)
        table = open_table(config.dataset, config.root, config.split, **config.options).head(config.limit)
        tell_warnings(table)
        if not len(table):
            raise RunError(f"{config.dataset} {config.split} has no images")
        networks = {name: open_network(name, table, config, only_one=len(names) == 1) for name in names}
        plans = {name: plan_backbone(name, wanted, networks[name], self.protocol) for name in names}
        for line in (line for plan in plans.values() for line in left_out(plan) if self.rank == 0):
            console.print(visible(line), markup=False, soft_wrap=True)
        plans = {name: plan for name, plan in plans.items() if plan.triples}
        keeper = HeadKeeper(config, table, self.device, only_one=len(names) == 1)
        for name in plans:
            check_labels(networks[name], table, name)
            keeper.take(name, networks[name], self._branches(name, plans))
        self.measures = choose_measures(config.metrics, table)
        manifest = run_manifest(
            config,
            table,
            plans,
            device=self.device,
            measures=self.measures,
            head_recipe=keeper.recipe_name,
            world_size=self.world,
        )
        timings = Timings()
        with RunStore.open(config.out, manifest, rank=self.rank, world_size=self.world) as store:
            self.durations["prepare"] = time.monotonic() - started
            for name, plan in plans.items():
                begun = time.monotonic()
                network = networks.pop(name).to(self.device)
                self._heads(store, keeper, name, network, plans)
                self.durations["heads"] = self.durations.get("heads", 0.0) + time.monotonic() - begun
                self._pass(store, table, network, plan, timings)
            self.durations["total"] = time.monotonic() - started
            store.finish(durations_s=self.durations, timings=timings)
        finished = load_run(config.out)
        if not len(finished.index):
            raise RunError(f"no image of {config.dataset} {config.split} could be read; see {config.out / 'run.json'}")
        # A location threshold from val needs a second run; `cambench leaderboard` joins both.
        tables = self.rank == 0 and self.protocol.loc_threshold != "val"
        paths = write_leaderboard([config.out], config.out) if tables else []
        return RunResult(finished, (config.out / "run.json", *paths))

    def _heads(
        self,
        store: RunStore,
        keeper: HeadKeeper,
        name: str,
        network: Backbone,
        plans: Mapping[str, BackbonePlan],
    ) -> None:
        found = keeper.ensure(name, network, self._branches(name, plans))
        record = backbone_record(network)
        record.branches = found
        record.title = BACKBONES.get(name).title if name in BACKBONES else name
        store.add_backbone(name, record)

    def _branches(self, name: str, plans: Mapping[str, BackbonePlan]) -> list[Branch]:
        """The branches of a network that its triples or their fidelity scores read."""
        return ["softmax", *(b for b in HEAD_BRANCHES if name in needs_branch(plans, self.protocol, b))]

    def _pass(
        self, store: RunStore, table: SampleTable, network: Backbone, plan: BackbonePlan, timings: Timings
    ) -> None:
        maps = [str(t) for t in plan.maps]
        todo = [
            shard
            for shard in range(store.manifest.shards)
            if shard % self.world == self.rank and not store.shard_done(plan.name, shard, maps)
        ]
        if not todo:
            return
        config = self.config
        engine = OnePass(
            network.freeze(),
            plan.maps,
            self.protocol,
            device=self.device,
            autocast=None if config.dtype == "float32" else getattr(torch, config.dtype),
            channels_last=config.channels_last,
            box_threads=config.box_threads,
            iou_thresholds=store.manifest.hit_thresholds,
            measures=self.measures,
            has_boxes=table.has_boxes,
            map_bytes=map_bytes(config.keep_maps, len(table)),
            clock=self.clock,
        )
        begun, samples = time.monotonic(), list[Sample]()
        try:
            with progress(
                f"{plan.name}: {len(plan.maps)} maps", sum(len(store.manifest.rows_of(s)) for s in todo)
            ) as bar:
                for shard in todo:
                    before = Counter(engine.notes)
                    rows, failures = self._shard(engine, table, store.manifest, shard, bar.advance)
                    sample = self.clock.flush()
                    stages = {stage: ms / 1e3 for stage, ms in sample.stages().items()}
                    notes = engine.notes - before
                    store.write_shard(plan.name, shard, {str(t): c for t, c in rows.items()}, failures, stages, notes)
                    samples.append(sample)
        finally:
            engine.close()
        for note in engine.notes:
            warnings.warn(f"{plan.name}: {note}", RuntimeWarning, stacklevel=2)
        seconds = time.monotonic() - begun
        self.durations[f"pass {plan.name}"] = seconds
        images = sum(s.images for s in samples)
        shared = BackboneTiming(
            device=device_name(self.device),
            dtype=config.dtype,
            channels_last=config.channels_last,
            batch_size=config.batch_size,
            threads=torch.get_num_threads(),
            images=images,
            images_per_s=images / seconds,
            map_pairs=len(plan.triples),
            distinct_maps=len(plan.maps),
            feature_shape=engine.feature_shape,
            peak_memory_mib=peak_memory_mib(self.device),
            peak_memory_of="device" if self.device.type == "cuda" else "host",
        )
        timings.backbones[plan.name] = backbone_timing(samples, "shard", shared)
        timings.triples.update(triple_timings(samples, plan.maps))

    def _shard(
        self, engine: OnePass, table: SampleTable, manifest: RunManifest, shard: int, advance: Any
    ) -> tuple[dict[Triple, Columns], list[ImageFailure]]:
        config, failures = self.config, list[ImageFailure]()
        pieces: list[dict[Triple, Columns]] = []
        pending = None
        batches = iter(
            load_batches(
                table,
                manifest.rows_of(shard),
                self.protocol.size,
                config.batch_size,
                config.workers,
                pin=self.device.type == "cuda",
            )
        )
        while True:
            with self.clock.stage("load"):
                batch = next(batches, None)
            if batch is None:
                break
            failures += batch.failures
            scores = self._score(engine, batch) if len(batch) else None
            # The boxes of a batch are waited for only after the next batch is on its way.
            if pending is not None:
                pieces.append(pending.rows(self.clock))
            pending = scores
            advance(len(batch) + len(batch.failures))
        if pending is not None:
            pieces.append(pending.rows(self.clock))
        if not pieces:
            return {triple: empty_columns(manifest) for triple in engine.maps}, failures
        joined = {
            triple: {name: np.concatenate([p[triple][name] for p in pieces]) for name in pieces[0][triple]}
            for triple in engine.maps
        }
        return joined, failures

    def _score(self, engine: OnePass, batch: Batch) -> BatchScores:
        """The scores of a batch; BatchMemoryError where it does not fit into the device's memory."""
        try:
            return engine(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, so that the failed attempt's tensors are gone.
        raise memory_error(
            f"{engine.backbone.name}, {len(engine.maps)} maps",
            len(batch),
            self.device,
            lambda count: engine(batch.head(count)),
            lambda fits: f"give --batch-size {fits}, and another --out, as the batch size belongs to a run",
        )
