"""What a run is, for its manifest: data, protocol, methods, options, versions, devices."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from ...baselines.cams import CAMS
from ...baselines.contracts import HEADS
from ...datasets.schema import DATASETS, SampleTable
from ...metrics import MetricSpec
from ...results.records.described import CamRecord, DatasetRecord, HeadRecord
from ...results.records.manifest import RunManifest
from ...version import __version__
from ..host.versions import LIBRARIES, library_versions
from ..maps.given_method import folder_of
from ..maps.map_folder import MapFolder
from .again import REQUEST, SETTLED, request_of
from .planning.config import RunConfig
from .planning.own_classes import protocol_of
from .planning.plan import BackbonePlan
from .scoring.foreign_code import foreign_code
from .scoring.measures import measure_record, measures_key


def run_manifest(
    config: RunConfig,
    table: SampleTable,
    plans: Mapping[str, BackbonePlan],
    *,
    device: torch.device,
    measures: Sequence[MetricSpec],
    head_recipe: str,
    world_size: int,
    given: Sequence[MapFolder] = (),
) -> RunManifest:
    """The manifest of a run that is about to start.

    Args:
        config: The request. table: Samples of the split. plans: Backbone -> triples and distinct maps.
        device: Where the run computes. measures: Further metrics. head_recipe: Recipe of the heads that are trained.
        world_size: Processes of the run. given: Maps made elsewhere.
    """
    protocol = protocol_of(table, config.protocol_object)
    maps = {f.name: _maps_record(f) for f in given}
    triples = [t for plan in plans.values() for t in plan.triples]
    return RunManifest(
        code_version=__version__,
        protocol=protocol,
        dataset=DatasetRecord(
            name=table.name,
            title=DATASETS.get(config.dataset).titled(config.root),
            split=table.split,
            fingerprint=table.fingerprint,
            rows=len(table),
            num_classes=max(1, table.num_classes),
            labelled=table.labelled,
            class_rows=table.class_rows,
            class_names=list(table.class_names),
            has_boxes=table.has_boxes,
            has_masks=table.has_masks,
            has_evidence=table.has_evidence,
            notes=[" ".join(note.split()) for note in table.notes],
        ),
        shard_size=config.shard_size,
        options={
            "dtype": config.dtype,
            "channels_last": config.channels_last,
            "chunk_mib": config.chunk_mib,
            "device": device.type,
            "batch_size": config.batch_size,
            "seed": config.seed,
            "metrics": measures_key(measures),
            "head_recipe": head_recipe,
            # Named only where asked for, as in option_pairs, so that folders from before these options go on.
            **({"compile": config.compile} if config.compile != "no" else {}),
            **({"fill_chunks": True} if config.fill_chunks else {}),
            **({} if config.fidelity else {"fidelity": False}),
        },
        triples=[str(t) for t in triples],
        aliases={str(a): str(o) for plan in plans.values() for a, o in plan.aliases.items()},
        identities={str(t): why for plan in plans.values() for t, why in plan.identities.items()},
        skipped={str(t): why for plan in plans.values() for t, why in plan.skipped.items()},
        cams={name: _cam_record(name) for name in dict.fromkeys(t.cam for t in triples)},
        heads={name: _head_record(name) for name in dict.fromkeys(t.head for t in triples)},
        metrics={spec.name: measure_record(spec) for spec in measures},
        seeds={"heads": config.seed},
        devices=[device_name(device)],
        versions={"python": platform.python_version(), **library_versions(LIBRARIES)},
        settings={
            "workers": config.workers,
            "cache_images": config.cache_images,
            "box_threads": config.box_threads,
            "box_engine": config.box_engine,
            "world_size": world_size,
            REQUEST: request_of(config),
            **({"maps": maps} if maps else {}),
            **({SETTLED: table.facts[SETTLED]} if SETTLED in table.facts else {}),
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        },
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _cam_record(name: str) -> CamRecord:
    method = CAMS.get(name)
    folder = folder_of(method)
    return CamRecord(
        title=method.title,
        source=method.source,
        cost=method.declared_cost,
        control=method.control,
        finished=method.returns == "mask",
        code_sha256=foreign_code(method.fn) if folder is None else folder.sha256,
    )


def _maps_record(folder: MapFolder) -> dict[str, Any]:
    """What ``run.json`` says of maps made elsewhere."""
    return {
        "folder": str(folder.folder),
        "sha256": folder.sha256,
        "files": len(folder.files),
        "shape": folder.shape,
        "missing": len(folder.missing),
        "without_a_map": len(folder.faults),
        "not_finite": len(folder.not_finite),
        "turned": len(folder.turned),
        "extra": len(folder.extra),
        "findings": folder.findings(),
    }


def _head_record(name: str) -> HeadRecord:
    head = HEADS.get(name)
    return HeadRecord(title=head.title, branch=head.branch, clamp=head.clamp)


def device_name(device: torch.device) -> str:
    """Name of a device for records: the accelerator's where it has one, else its kind."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
