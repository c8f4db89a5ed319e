"""``cambench time``: what each stage of the one pass costs, in milliseconds an image and in plain forwards."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table

from ...baselines.cams.cost import Cost, CostError
from ...baselines.cams.method import CAMS
from ...baselines.contracts import Backbone, Branch
from ...datasets.open import open_table
from ...datasets.schema import Batch, SampleTable
from ...results.records.timings import BackboneTiming, Timings
from ...triple import Triple
from ..engine.clock import Sample, StageClock, backbone_timing, triple_timings
from ..engine.config import RunConfig
from ..engine.onepass import OnePass
from ..engine.plan import BackbonePlan, needs_branch, plan_backbone
from ..engine.prepare import check_names, open_network, torch_determinism
from ..engine.provenance import LIBRARIES, device_name, library_versions
from ..engine.triples import expand_patterns
from ..host.allocator import keep_freed_memory
from ..host.device import peak_memory_mib, pick_device
from ..host.errors import UsageError
from ..host.progress import progress
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
    timings: Timings


def time_pass(
    patterns: Sequence[str],
    *,
    dataset: str,
    root: Path | None,
    options: Mapping[str, Any],
    stage: str,
    batch_size: int,
    batches: int,
    device: str,
    dtype: str,
    protocol: str,
    pretrained: bool,
) -> TimingReport:
    """Time ``batches`` batches after one of warm-up; heads that have no weights are timed with fresh ones.

    Raises:
        UsageError: An unknown stage. RunError: The data set has fewer images than one batch.
    """
    if stage not in ("all", "load"):
        raise UsageError(f"--stage {stage!r}: expected all or load")
    config = RunConfig.create(
        dataset=dataset, root=root, options=dict(options), triples=tuple(patterns), protocol=protocol,
        out=Path(), device=device, batch_size=batch_size, dtype=dtype, pretrained=pretrained,
    )  # fmt: skip
    wanted = expand_patterns(config.triples)
    names = list(dict.fromkeys(w.triple.backbone for w in wanted))
    where = torch.device(pick_device(device))
    keep_freed_memory()
    table = open_table(dataset, root, "test", **options)
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
    with torch_determinism(), progress("timing", len(names) * (batches + 1), "batches") as bar:
        for name in names:
            network = open_network(name, table, config, only_one=len(names) == 1).to(where)
            plan = plan_backbone(name, wanted, network, config.protocol_object)
            others: tuple[Branch, ...] = ("sigmoid", "semantic")
            for branch in others:
                if needs_branch({name: plan}, config.protocol_object, branch):
                    network.heads[branch] = network.fresh_head(branch).to(where)
            network.freeze()
            if stage == "load":
                load = _load_only(network, table, config, where, batches, bar.advance)
                report.load[name], report.load_images_per_s = load, load.images_per_s
                report.load_forwards[name] = load.ratio
                continue
            timing, triples = _whole(network, plan, ready, config, where, table.has_boxes, bar.advance)
            report.timings.triples.update(triples)
            report.timings.backbones[name] = timing
            if timing.forward_ms:
                report.load_forwards[name] = rate * timing.forward_ms / 1e3
    return report


def _engine(
    network: Backbone, plan: BackbonePlan | None, config: RunConfig, where: torch.device, has_boxes: bool
) -> OnePass:
    protocol = config.protocol_object
    return OnePass(
        network,
        plan.maps if plan else (),
        protocol,
        device=where,
        autocast=None if config.dtype == "float32" else getattr(torch, config.dtype),
        channels_last=config.channels_last,
        box_threads=config.box_threads,
        iou_thresholds=tuple(sorted({*protocol.iou_thresholds, protocol.loc_iou})),
        measures=(),
        has_boxes=has_boxes,
        map_bytes=0,
        clock=StageClock(where),
    )


def _whole(
    network: Backbone,
    plan: BackbonePlan,
    ready: Sequence[Batch],
    config: RunConfig,
    where: torch.device,
    has_boxes: bool,
    advance: Any,
) -> tuple[BackboneTiming, Any]:
    engine = _engine(network, plan, config, where, has_boxes)
    samples: list[Sample] = []
    begun = time.perf_counter()
    try:
        for number, batch in enumerate(ready):
            engine(batch).rows(engine.clock)
            sample = engine.clock.flush()
            if number:
                samples.append(sample)
            else:
                begun = time.perf_counter()
            advance()
    finally:
        engine.close()
    seconds = time.perf_counter() - begun
    images = sum(s.images for s in samples)
    shared = _shared(config, where).model_copy(
        update={
            "images": images,
            "images_per_s": images / seconds,
            "map_pairs": len(plan.triples),
            "distinct_maps": len(plan.maps),
            "feature_shape": engine.feature_shape,
            "peak_memory_mib": peak_memory_mib(where),
        }
    )
    return backbone_timing(samples, "batch", shared), triple_timings(samples, plan.maps)


def _load_only(
    network: Backbone, table: SampleTable, config: RunConfig, where: torch.device, rounds: int, advance: Any
) -> LoadTiming:
    engine = _engine(network, None, config, where, has_boxes=False)
    try:
        return time_load(engine, table, config, rounds, advance)
    finally:
        engine.close()


def _shared(config: RunConfig, where: torch.device) -> BackboneTiming:
    return BackboneTiming(
        device=device_name(where),
        dtype=config.dtype,
        channels_last=config.channels_last,
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
        )
        console.print(_cost_table(report, name))


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
        table.add_row(
            f"{cam}/{head}", declared or "not declared", _evaluated(declared, shape), f"{timing.map_forwards:.2f}"
        )
    return table


def _evaluated(declared: str, shape: tuple[int, int, int] | None) -> str:
    try:
        return str(Cost.parse(declared).forwards(*shape)) if shape else "–"
    except CostError:
        return "–"
