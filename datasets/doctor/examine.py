"""What is really on disk: one report a data set, with everything that was found and the next step for what was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from ..batches.images import UnreadableImageError, decode_mask, open_picture
from ..findings import Finding, OptionError, WrongFolderError
from ..open import DataSource, local_root
from ..schema import DATASETS, SPLITS, DatasetError, ImageFailure, MissingSplitError, SampleTable, Split
from .reports import DoctorReport, SplitReport
from .steps import lacking, next_steps

Advance = Callable[[int], object]
Track = Callable[[str, int], AbstractContextManager[Advance]]
"""Given a title and a number of units, a context whose value advances the progress."""


def _ignore(_units: int) -> None:
    return None


def doctor(
    name: str,
    root: str | Path | None = None,
    *,
    deep: bool = False,
    splits: Sequence[Split] = SPLITS,
    workers: int = 4,
    track: Track = lambda _title, _total: nullcontext(_ignore),
    **options: Any,
) -> DoctorReport:
    """Examine every split of a data set; problems are findings of the report, never an exception.

    Args:
        name: Registered name.
        root: Folder of the data set.
        deep: Decode every image (in ``workers`` threads).
        splits: Splits to look at.
        workers: Decoding threads.
        track: Shows the progress of a split's decoding.
        **options: The adapter's options.

    Raises:
        UnknownNameError: No data set has this name.
        DatasetError: The root does not exist; an option that the data set has not.
    """
    spec = DATASETS.get(name)
    path = local_root(spec, root)
    reports: list[SplitReport] = []
    tables: list[SampleTable] = []
    for split in splits:
        report, table = _examine(DataSource(name, path, split, options), split)
        report.expected = spec.counts.get(split)
        if table is not None:
            _compare_count(report)
            report.findings += [f for other in tables for f in _overlap(other, table)]
            tables.append(table)
            if deep:
                with track(f"decode {name} {split}", len(table)) as advance:
                    report.unreadable, report.modes = decode_all(table, workers, advance)
        reports.append(report)
    elsewhere = next((r.right_root for r in reports if r.right_root is not None), None)
    if elsewhere is not None:
        steps: tuple[str, ...] = (f"the same command with --root {elsewhere}",)
    else:
        steps = next_steps(spec, path, lacking(spec, reports))
    return DoctorReport(name, spec.title, path, spec.licence, spec.citation, spec.source, reports, steps)


def _examine(source: DataSource, split: Split) -> tuple[SplitReport, SampleTable | None]:
    """The split's report; where images are missing, of those that are there."""
    report = SplitReport(split)
    try:
        table = source.open()
    except OptionError:
        raise
    except MissingSplitError as error:
        report.findings = [Finding("note", str(error))]
        return report, None
    except WrongFolderError as error:
        report.findings, report.right_root = [Finding("error", str(error))], error.right
        return report, None
    except DatasetError as error:
        known = [f for f in error.findings if isinstance(f, Finding)]
        report.findings = known or [Finding("error", str(error))]
        try:
            table = replace(source, options={**source.options, "missing": "skip"}).open()
        except (DatasetError, TypeError):
            return report, None
    else:
        stored = table.facts.get("findings")
        report.findings = [Finding(**f) for f in stored] if stored else [Finding("note", n) for n in table.notes]
    _describe(report, table)
    return report, table


def _describe(report: SplitReport, table: SampleTable) -> None:
    data = table.rows.data
    report.rows, report.num_classes = len(table), table.num_classes
    report.variant, report.fingerprint = str(table.facts.get("variant", "")), table.fingerprint
    report.classes_present = len(pc.unique(data["label"]))
    report.has_masks = table.has_masks
    if table.has_boxes and len(table):
        counts = pc.list_value_length(data["boxes"]).to_numpy()
        report.boxes = int(counts.sum())
        report.boxes_per_image = (int(counts.min()), float(counts.mean()), int(counts.max()))
        report.several_boxes = int(np.count_nonzero(counts > 1))


def _overlap(one: SampleTable, other: SampleTable) -> list[Finding]:
    """Files that are in both splits, and ids that name different files in them (train and its hold-out val aside)."""
    if {one.split, other.split} == {"train", "val"}:
        return []
    pair = f"{one.split} and {other.split}"
    paths = [pc.struct_field(t.rows.data["image"], "path") for t in (one, other)]
    files = pc.sum(pc.is_in(paths[1], value_set=pc.unique(paths[0]), skip_nulls=True)).as_py() or 0
    ids = pc.sum(pc.is_in(other.rows.data["image_id"], value_set=pc.unique(one.rows.data["image_id"]))).as_py() or 0
    found = []
    if files:
        found.append(Finding("warning", f"{files:,} images are both in {pair}", count=files))
    if ids > files:
        found.append(Finding("note", f"{ids - files:,} image ids name different files in {pair}", count=ids - files))
    return found


def _compare_count(report: SplitReport) -> None:
    if report.expected is None or report.rows in (0, report.expected):
        return
    if report.rows > report.expected:
        what = f"{report.rows:,} images, published are {report.expected:,}: more than published"
    elif any(f.what.startswith("a subset") for f in report.findings):
        return
    else:
        what = f"a subset: {report.rows:,} of {report.expected:,} published images"
    report.findings.append(Finding("warning", what))


def decode_all(table: SampleTable, workers: int, advance: Advance) -> tuple[tuple[ImageFailure, ...], dict[str, int]]:
    """Images that cannot be decoded, or whose masks cannot, and how many images have which Pillow mode."""
    failures: list[ImageFailure] = []
    modes: Counter[str] = Counter()

    def work(
        row: tuple[int, str, Mapping[str, Any], list[Mapping[str, Any]], Mapping[str, Any] | None],
    ) -> ImageFailure | str:
        index, image_id, picture, masks, ignore = row
        shown = ""
        try:
            mode = open_picture(picture).mode
            for mask in [*(masks or ()), *([ignore] if ignore else ())]:
                shown = f"mask {mask['path']}: "
                decode_mask(mask)
        except UnreadableImageError as error:
            return ImageFailure(image_id, index, f"{shown}{error}")
        return mode

    with ThreadPoolExecutor(max(1, workers), "decode") as pool:
        for first in range(0, len(table), 256):
            indices = range(first, min(first + 256, len(table)))
            rows = table.rows[list(indices)]
            columns = (rows[c] for c in ("image_id", "image", "masks", "ignore"))
            for outcome in pool.map(work, zip(indices, *columns, strict=True)):
                if isinstance(outcome, str):
                    modes[outcome] += 1
                else:
                    failures.append(outcome)
            advance(len(indices))
    return tuple(failures), dict(modes)
