"""``cambench time``: what each stage of the one pass costs, in milliseconds per image and in plain forwards."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from ...baselines.cams import CAMS, Cost, CostError
from ...baselines.contracts import Backbone, Branch
from ...datasets.schema import Batch, SampleTable
from ...progress import progress
from ...results.records.timings import BackboneTiming, Timings, TripleTiming
from ...triple import Triple
from ..engine.backbone_pass import reading_of
from ..engine.networks import open_network, same_numbers
from ..engine.planning.config import RunConfig
from ..engine.planning.given import check_names
from ..engine.planning.plan import BackbonePlan, needs_branch, plan_backbone
from ..engine.planning.triples import expand_patterns
from ..engine.run_record import device_name
from ..engine.scoring.clock import Sample, StageClock, backbone_timing, triple_timings
from ..engine.scoring.onepass import OnePass
from ..engine.scoring.pass_boxes import BoxEngine
from ..engine.scoring.scope import Scoring
from ..host.allocator import keep_freed_memory
from ..host.device import peak_memory_mib, pick_device
from ..host.errors import RunError, UsageError
from ..host.versions import LIBRARIES, library_versions
from .bottleneck import bottleneck
from .load_times import LoadTiming, load_rate, time_load


class TimingReport(BaseModel):
    """Figures of one ``cambench time``; rates in images per second, costs in ms an image."""

    model_config = ConfigDict(extra="forbid")

    dataset: str
    size: int
    date: str
    versions: dict[str, str]
    load_images_per_s: float
    """The input pipeline alone: decode and resize in parallel workers."""
    load_forwards: dict[str, float] = Field(default_factory=dict)
    """Backbone -> images/s of the input pipeline as a multiple of the images/s of a plain forward."""
    load: dict[str, LoadTiming] = Field(default_factory=dict)
    """Backbone -> the pipeline and the forward in turns (``--stage load``)."""
    bottleneck: dict[str, str] = Field(default_factory=dict)
    """Backbone -> what bounds a run of these triples here, in one line."""
    timings: Timings


def time_pass(config: RunConfig, *, stage: str, batches: int) -> TimingReport:
    """Time ``batches`` batches after one of warm-up; heads that have no weights are timed with fresh ones.

    Args:
        config: Triples, data, protocol, device, batch size and precision; its split and ``out`` are not looked at.
        stage: ``all``, or ``load`` for the input pipeline beside a plain forward.
        batches: Batches that are timed.

    Raises:
        UsageError: An unknown stage. RunError: The data set has fewer images than one batch.
    """
    if stage not in ("all", "load"):
        raise UsageError(f"--stage {stage!r}: expected all or load")
    wanted = expand_patterns(config.triples)
    names = list(dict.fromkeys(w.triple.backbone for w in wanted))
    where = torch.device(pick_device(config.device))
    keep_freed_memory()
    table = config.source.of("test").open()
    load_rate(table, config, 0, 1)
    ready, rate = load_rate(table, config, 0, batches + 1 if stage == "all" else 1)
    report = TimingReport(
        dataset=table.name,
        size=config.protocol_object.size,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"python": platform.python_version(), **library_versions(LIBRARIES)},
        load_images_per_s=rate,
        timings=Timings(),
    )
    check_names(config, names)
    with same_numbers(where, config.dtype), progress("timing", len(names) * (batches + 1), "batches") as bar:
        for name in names:
            network = open_network(name, table, config, only_one=len(names) == 1).to(where)
            plan = plan_backbone(name, wanted, network, config.protocol_object)
            others: tuple[Branch, ...] = ("sigmoid", "semantic")
            for branch in others:
                if needs_branch({name: plan}, config.protocol_object, branch):
                    network.heads[branch] = network.fresh_head(branch).to(where)
            timed = _Timed(network.freeze(), config, table.has_boxes, bar.advance)
            if stage == "load":
                load = timed.load_only(table, batches)
                report.load[name], report.load_images_per_s = load, load.images_per_s
                report.load_forwards[name] = load.ratio
                continue
            timing, triples = timed.whole(plan, ready)
            report.timings.triples.update(triples)
            report.timings.backbones[name] = timing
            if timing.forward_ms:
                report.load_forwards[name] = rate * timing.forward_ms / 1e3
                report.bottleneck[name] = timed.bottleneck(timing, 1e3 / rate)
    return report


class _Timed:
    """One network whose pass is timed, by the engine of a run."""

    def __init__(self, network: Backbone, config: RunConfig, has_boxes: bool, advance: Callable[[], object]) -> None:
        protocol = config.protocol_object
        self.reading = reading_of(config, network, protocol)
        self.config, self.advance = config, advance
        thresholds = tuple(sorted({*protocol.iou_thresholds, protocol.loc_iou}))
        self.scoring = Scoring(
            thresholds,
            has_boxes,
            box_threads=config.box_threads,
            fidelity=config.fidelity,
            box_engine=BoxEngine(config.box_engine, self.reading.device),
        )

    def whole(self, plan: BackbonePlan, ready: Sequence[Batch]) -> tuple[BackboneTiming, dict[str, TripleTiming]]:
        """The whole pass over ready batches, the first of which warms up; RunError where a method fails."""
        where = self.reading.device
        engine = OnePass(self.reading, plan.maps, self.scoring, StageClock(where))
        samples: list[Sample] = []
        begun = time.perf_counter()
        try:
            for number, batch in enumerate(ready):
                # One at a time, so that a batch's boxes are in its own sample.
                list(engine.over([batch]))
                if engine.lost:
                    raise RunError("; ".join(f"{what}: {why}" for what, why in engine.lost.items()))
                sample = engine.clock.flush()
                if number:
                    samples.append(sample)
                else:
                    begun = time.perf_counter()
                self.advance()
        finally:
            engine.close()
        seconds = time.perf_counter() - begun
        images = sum(s.images for s in samples)
        shared = _shared(self.config, where).model_copy(
            update={
                "images": images,
                "images_per_s": images / seconds,
                "map_pairs": len(plan.triples),
                "distinct_maps": len(plan.maps),
                "feature_shape": engine.feature_shape,
                "through_network": engine.reading.network.through_network,
                "peak_memory_mib": peak_memory_mib(where),
            }
        )
        return backbone_timing(samples, "batch", shared), triple_timings(samples, plan.maps)

    def bottleneck(self, timing: BackboneTiming, decode_ms: float) -> str:
        """What bounds a run of these triples here, in one line; ``decode_ms``: of an image, in the pipeline alone."""
        stages = {stage: cost.median_ms for stage, cost in timing.stages.items()}
        threads = self.config.box_threads if self.scoring.box_engine.name == "cpu" else 1
        cores = os.cpu_count() or 1
        shared, compiled = self.reading.device.type == "cpu", self.config.compile != "no"
        return bottleneck(stages, decode_ms, min(threads, cores), shared=shared, compiled=compiled)

    def load_only(self, table: SampleTable, rounds: int) -> LoadTiming:
        """The input pipeline and a plain forward in turns."""
        scoring = replace(self.scoring, has_boxes=False)
        engine = OnePass(self.reading, (), scoring, StageClock(self.reading.device))
        try:
            return time_load(engine, table, self.config, rounds, self.advance)
        finally:
            engine.close()


def _shared(config: RunConfig, where: torch.device) -> BackboneTiming:
    return BackboneTiming(
        device=device_name(where),
        dtype=config.dtype,
        channels_last=config.channels_last,
        compile=config.compile,
        batch_size=config.batch_size,
        threads=torch.get_num_threads(),
        peak_memory_of="device" if where.type == "cuda" else "host",
    )


def show_timings(report: TimingReport, console: Console) -> None:
    """Print the figures as tables."""
    if report.load:
        console.print(_load_table(report))
    else:
        console.print(f"input pipeline alone: {report.load_images_per_s:.0f} images/s at {report.size}×{report.size}")
    for name, timing in report.timings.backbones.items():
        ratio = report.load_forwards.get(name)
        if ratio is not None:
            console.print(
                f"{name}: a plain forward takes {timing.forward_ms:.2f} ms an image; loading is {ratio:.1f}× faster"
            )
        if timing.map_forwards is None:
            continue
        table = Table("stage", "ms/image", "IQR", "forwards", title=name, title_justify="left", box=None)
        for stage, cost in timing.stages.items():
            share = cost.median_ms / timing.forward_ms if timing.forward_ms else 0.0
            table.add_row(stage, f"{cost.median_ms:.3f}", f"{cost.iqr_ms:.3f}", f"{share:.3f}")
        console.print(table)
        console.print(
            f"all {timing.map_pairs} (method, head) pairs, {timing.distinct_maps} distinct maps: "
            f"{timing.map_forwards:.2f} forwards; whole pass {timing.images_per_s:.1f} images/s; "
            f"peak memory {timing.peak_memory_mib:.0f} MiB ({timing.peak_memory_of}); "
            f"batch {timing.batch_size}, {timing.dtype}, {timing.device}"
            + (f", --compile {timing.compile}" if timing.compile != "no" else ""),
            soft_wrap=True,
        )
        console.print(_cost_table(report, name))
    for name, line in report.bottleneck.items():
        console.print(f"{name}: {line}", soft_wrap=True)


def _load_table(report: TimingReport) -> Table:
    """The pipeline beside each backbone's forward."""
    names = ("backbone", "load, images/s", "forward, images/s", "load / forward", "IQR", "decoding threads", "rounds")
    table = Table(*names, title=f"{report.dataset} at {report.size}×{report.size}", title_justify="left", box=None)
    for name, load in report.load.items():
        rates = (f"{load.images_per_s:.1f}", f"{load.forward_images_per_s:.1f}")
        table.add_row(name, *rates, f"{load.ratio:.1f}", f"{load.ratio_iqr:.1f}", str(load.workers), str(load.rounds))
    return table


def _cost_table(report: TimingReport, backbone: str) -> Table:
    """What each map alone costs: declared, that formula on this network, measured."""
    shape = report.timings.backbones[backbone].feature_shape
    size = f" (N, P, Q = {', '.join(map(str, shape))})" if shape else ""
    table = Table("triple", "declared", "formula, forwards", "measured, forwards", box=None)
    table.title, table.title_justify = f"{backbone}: one map alone{size}", "left"
    for triple, timing in report.timings.triples.items():
        name, cam, head = Triple.parse(triple).names
        if name != backbone or timing.map_forwards is None:
            continue
        declared = CAMS.get(cam).declared_cost
        if report.timings.backbones[backbone].through_network:
            declared = declared.replace("head ", "network ")
        table.add_row(
            f"{cam}/{head}", declared or "not declared", _evaluated(declared, shape), f"{timing.map_forwards:.2f}"
        )
    return table


def _evaluated(declared: str, shape: tuple[int, int, int] | None) -> str:
    try:
        return str(Cost.parse(declared).forwards(*shape)) if shape else "–"
    except CostError:
        return "–"
