"""The embedded data set: procedurally drawn birds with known boxes, masks and evidence; drawn once, then cached."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import datasets as hf
import numpy as np
import PIL
import pyarrow as pa

from ....progress import progress
from ...schema import DatasetError, DatasetSpec, SampleTable, Split, register_dataset, sample_features
from ...tables.cache import Writer, cache_root, inspect, key_of
from .species import CLASS_NAMES, SPECIES
from .worker import Job, draw_rows

VERSION = 1
"""Generator version: changes whenever the same seed would give other pixels."""
COUNTS: Mapping[Split, int] = {"train": 2400, "val": 240, "test": 300}
OPTIONS = {
    "seed": "seed of the drawing, at least 0 (default 0)",
    "size": "width and height of the images in pixels, 32 to 1024 (default 224)",
    "count": "images of the split, at least 1 (default 2400, 240, 300)",
    "refresh": "true: draw again even if cached",
    "on_progress": "called with (rows done, rows in all)",
}

Progress = Callable[[int, int], None]


def load(root: Path | None, split: Split, options: Mapping[str, Any]) -> SampleTable:  # noqa: ARG001
    """The split's table, drawn at first use (``root`` is not used). ``DatasetError``: a bad option or cache folder."""
    job = _job(split, options)
    entry = cache_root() / "datasets" / "synthbirds" / _key(job)
    refresh = str(options.get("refresh", "")).lower() in ("1", "true", "yes", "on")
    found = None if refresh else _intact(entry)
    if found is None:
        _draw_into(entry, job, options.get("on_progress"), replace=refresh)
        found = _intact(entry)
        if found is None:
            raise DatasetError(f"cache entry {entry} cannot be read back; is the disk full?")
    rows, fingerprint = found
    return SampleTable(
        name="synthbirds",
        split=split,
        rows=rows,
        class_names=CLASS_NAMES,
        fingerprint=fingerprint,
        has_boxes=True,
        has_masks=True,
        has_evidence=True,
        facts={
            "generator_version": VERSION,
            "seed": job.seed,
            "size": job.side,
            "families": {s.name: s.family.name for s in SPECIES},
        },
    )


def _job(split: Split, options: Mapping[str, Any]) -> Job:
    for name in options:
        if name not in OPTIONS:
            near = difflib.get_close_matches(name, OPTIONS, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DatasetError(f"synthbirds: no option {name!r}; {hint}options: {', '.join(OPTIONS)}")
    if split not in COUNTS:
        raise DatasetError(f"synthbirds: no split {split!r}; splits: {', '.join(COUNTS)}")
    return Job(
        seed=_whole(options, "seed", 0, (0, 2**63)),
        split=split,
        side=_whole(options, "size", 224, (32, 1024)),
        count=_whole(options, "count", COUNTS[split], (1, 10**6)),
    )


def _whole(options: Mapping[str, Any], name: str, default: int, bounds: tuple[int, int]) -> int:
    given = options.get(name)
    if given is None:
        return default
    try:
        value = int(str(given))
    except ValueError:
        value = bounds[0] - 1
    if not bounds[0] <= value <= bounds[1]:
        raise DatasetError(f"synthbirds: {name}={given!r}; expected a whole number from {bounds[0]} to {bounds[1]}")
    return value


def _key(job: Job) -> str:
    # Another Pillow or numpy may draw other pixels: each version keeps its own entry.
    drawn_by = {"synthbirds": VERSION, "numpy": np.__version__, "pillow": PIL.__version__}
    return f"{job.split}-{key_of({**drawn_by, **vars(job)})}"


def _intact(entry: Path) -> tuple[hf.Dataset, str] | None:
    """Rows and fingerprint of a cache entry; None where it is absent or its bytes are not those that were written."""
    found = inspect(entry)
    return None if found.rows is None else (found.rows, str(found.meta["fingerprint"]))


def _draw_into(entry: Path, job: Job, on_progress: Progress | None, *, replace: bool) -> None:
    features = sample_features(list(CLASS_NAMES))
    schema = features.arrow_schema
    digest = hashlib.sha256(repr((VERSION, job, CLASS_NAMES)).encode())
    writer = Writer(entry)
    shown = progress(f"drawing synthbirds {job.split}, once", job.count) if on_progress is None else nullcontext()
    try:
        with shown as bar:
            for rows in draw_rows(job):
                for row in rows:
                    for part in (row["image"], *row["masks"], row["evidence"]):
                        digest.update(hashlib.sha256(part["bytes"]).digest())
                    digest.update(repr((row["image_id"], row["label"], row["boxes"])).encode())
                writer.write(pa.RecordBatch.from_pylist(rows, schema=schema))
                if on_progress is not None:
                    on_progress(writer.rows, job.count)
                if bar is not None:
                    bar.advance(len(rows))
        if replace or _intact(entry) is None:
            writer.commit({"fingerprint": digest.hexdigest(), "watch": {}})
        else:
            # Another process drew the same meanwhile and may be reading it: leave its entry in place.
            writer.abort()
    except BaseException:
        writer.abort()
        raise


register_dataset(
    DatasetSpec(
        name="synthbirds",
        load=load,
        title="synthbirds: drawn birds whose telling parts are known",
        source="drawn by cambench",
        licence="Apache-2.0",
        counts={str(split): count for split, count in COUNTS.items()},
        num_classes=len(CLASS_NAMES),
        metrics=("boxes", "masks", "evidence"),
        needs_root=False,
    )
)
