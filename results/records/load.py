"""Reader of a run folder: per-image records of every triple, over the same images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...text import visible
from ...triple import Triple
from .columns import COLUMNS, EXTRA, Array
from .described import Failure
from .manifest import RunManifest
from .markers import LOST_METRIC, ShardMark, damaged_marks, lacking_metrics, read_marks, said_notes
from .parts import check_part, column_names, part_path, read_part
from .record_errors import RecordError
from .run_folder import damaged_manifest, read_manifest

Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """Records of a run, restricted to the images that every triple has; made by ``load_run``.

    Attributes:
        out: The run folder.
        manifest: Its ``run.json``.
        triples: Triples with records, in table order, aliases included.
        pending: Triples of the manifest that have no records (yet).
        index: Data-set rows (n,) of the images, ascending.
        failures: Images that could not be evaluated.
        problems: What is wrong with the folder, for people: damaged parts, shards that are not done.
        notes: What was computed otherwise than asked for, for people.
        lost: Triple, or ``metric NAME``, that failed in the run -> why; it has no records, or no column, here.
    """

    out: Path
    manifest: RunManifest
    triples: list[Triple]
    pending: list[Triple]
    index: Index
    failures: list[Failure]
    problems: list[str]
    _shards: dict[str, list[int]] = field(repr=False)
    notes: list[str] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)

    @property
    def image_ids(self) -> npt.NDArray[Any]:
        """Ids (n,) of the images, in the order of ``index``; empty where no triple has records."""
        return self.column(self.triples[0], "image_id") if self.triples else np.empty(0, dtype=object)

    def columns(self, triple: str) -> list[str]:
        """Names of a triple's columns."""
        canonical = self._canonical(triple)
        names = column_names(part_path(self.out, canonical, self._shards[canonical][0]))
        if not (self.manifest.predicts(canonical) and self.manifest.classified):
            names.remove("predicted")
        # Shards that were done before a metric failed have its column, the others do not.
        return [n for n in names if f"{LOST_METRIC}{n.removeprefix(EXTRA)}" not in self.lost or not n.startswith(EXTRA)]

    def has_column(self, triple: str, name: str) -> bool:
        """Every part of a triple has the column: sessions of one run may differ in whether they store maps."""
        canonical = self._canonical(triple)
        return all(name in column_names(part_path(self.out, canonical, shard)) for shard in self._shards[canonical])

    def column(self, triple: str, name: str) -> Array:
        """One column (n, …) of a triple, rows in the order of ``index``.

        Raises:
            KeyError: The run has no such triple.
            RecordError: A part is damaged, or has no such column.
        """
        return np.concatenate([batch[name] for batch in self.batches(triple, [name])])

    def batches(self, triple: str, names: Sequence[str]) -> Iterator[dict[str, Array]]:
        """The columns ``names`` of a triple, a shard at a time, rows in the order of ``index``."""
        canonical = self._canonical(triple)
        for shard in self._shards[canonical]:
            columns = read_part(part_path(self.out, canonical, shard), list(dict.fromkeys(["index", *names])))
            kept = np.isin(columns["index"], self.index)
            if not kept.any():
                continue
            yield {name: columns[name] if kept.all() else columns[name][kept] for name in names}

    def records(self, triple: str) -> pd.DataFrame:
        """Per-image records of a triple: its columns of one number an image, and ``correct`` (predicted = label)."""
        names = [n for n in self.columns(triple) if n not in COLUMNS or COLUMNS[n].ndim == 0]
        batches = list(self.batches(triple, names))
        frame = pd.DataFrame({name: np.concatenate([b[name] for b in batches]) for name in names})
        if "predicted" not in names:
            return frame
        frame.insert(names.index("predicted") + 1, "correct", frame["predicted"] == frame["label"])
        return frame

    def _canonical(self, triple: str) -> str:
        canonical = self.manifest.canonical(triple)
        if canonical not in self._shards:
            raise KeyError(f"{self.out} has no records of {triple}; it has {', '.join(self.triples) or 'none'}")
        return canonical


def load_run(out: str | Path, backbone: str | None = None) -> Run:
    """Open a run folder for reading; with ``backbone``, only this network's triples.

    An image that failed, or whose record of any triple is missing or damaged, is left out of every triple alike;
    ``problems`` names the files. A triple with no whole part at all is ``pending`` instead.

    Raises:
        RecordError: ``out`` is no run folder, or its ``run.json`` is damaged or of another schema version.
    """
    out = Path(out)
    manifest = read_manifest(out)
    triples = [t for t in manifest.triples if backbone in (None, t.backbone)]
    backbones = dict.fromkeys(t.backbone for t in triples)
    marks = {b: {m.shard: m for m in read_marks(out, b)} for b in backbones}
    for name in (b for b, found in marks.items() if found and b not in manifest.backbones):
        raise damaged_manifest(out, f"it says nothing of the network {visible(name)}, which has records")
    for name, found in marks.items():
        _check_rows(out, manifest, name, found)
    unread = [f"{path}: damaged, so its shard counts as not done" for b in backbones for path in damaged_marks(out, b)]
    canonical = list(dict.fromkeys(manifest.canonical(t) for t in triples))
    good: dict[str, list[int]] = {}
    problems: dict[str, list[str]] = {}
    for triple in canonical:
        good[triple], problems[triple] = _whole_shards(out, manifest, triple, marks.get(triple.backbone, {}))
    lost = {what: why for found in marks.values() for m in found.values() for what, why in m.lost.items()}
    lost = _stale_metrics(manifest, good, marks) | {
        what: why for what, why in lost.items() if what.startswith(LOST_METRIC) or what in good
    }
    # A triple that failed half way must not take the images of all others with it.
    active = {t: shards for t, shards in good.items() if shards and t not in lost}
    failures = {f.index: f for found in marks.values() for m in found.values() for f in m.failures}
    index = _common_rows(manifest, list(active.values()), failures.keys())
    return Run(
        out=out,
        manifest=manifest,
        triples=[t for t in triples if manifest.canonical(t) in active],
        pending=[t for t in triples if manifest.canonical(t) not in active],
        index=index,
        failures=[failures[i] for i in sorted(failures)],
        problems=[
            *unread,
            *(f"{what} failed and is left out: {why}" for what, why in lost.items()),
            *(line for triple in canonical for line in problems[triple] if triple not in lost),
        ],
        _shards=active,
        notes=[f"{b}: {note} ({n})" for b in backbones for note, n in said_notes(marks[b].values(), manifest).items()],
        lost=lost,
    )


def _check_rows(out: Path, manifest: RunManifest, backbone: str, marks: Mapping[int, ShardMark]) -> None:
    """Raise where the manifest and a finished shard disagree about which images the shard holds."""
    for shard, mark in marks.items():
        rows = manifest.rows_of(shard)
        if (mark.start, mark.stop) != (rows.start, rows.stop):
            why = f"its shard {shard} of {backbone} has images {rows.start} to {rows.stop - 1}"
            raise damaged_manifest(out, f"{why}, that on disk {mark.start} to {mark.stop - 1}")


def _whole_shards(
    out: Path, manifest: RunManifest, triple: str, marks: dict[int, ShardMark]
) -> tuple[list[int], list[str]]:
    whole, damaged, absent = [], list[tuple[str, str]](), []
    for shard in range(manifest.shards):
        mark = marks.get(shard)
        if mark is not None and not mark.images:
            continue
        part = mark.parts.get(triple) if mark else None
        if part is None:
            absent.append(shard)
            continue
        wrong = check_part(part_path(out, triple, shard), part, manifest.record_key(triple))
        if wrong:
            rows = manifest.rows_of(shard)
            damaged.append((wrong, f"images {rows.start} to {rows.stop - 1} are left out of every triple"))
        else:
            whole.append(shard)
    lost = "" if whole else f"{triple} has no whole part and is left out itself"
    problems = [f"{wrong}; {lost or images} until the same run is given again" for wrong, images in damaged]
    if absent:
        problems.append(f"{triple}: {len(absent)} of {manifest.shards} shards are not done (first: {absent[0]})")
    return whole, problems


def _stale_metrics(
    manifest: RunManifest, good: dict[str, list[int]], marks: dict[str, dict[int, ShardMark]]
) -> dict[str, str]:
    """``metric NAME`` -> why, of metrics that some whole parts lack."""
    parts = [marks[Triple.parse(t).backbone][shard].parts[t] for t, shards in good.items() for shard in shards]
    why = "not computed anew for every image; the run's command, given again, does so"
    return {f"{LOST_METRIC}{name}": why for part in parts for name in lacking_metrics(manifest, part)}


def _common_rows(manifest: RunManifest, shards: list[list[int]], failed: Iterable[int]) -> Index:
    if not shards:
        return np.empty(0, dtype=np.int64)
    common = sorted(set.intersection(*map(set, shards)))
    rows = [np.asarray(manifest.rows_of(s), dtype=np.int64) for s in common]
    joined = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    return joined[~np.isin(joined, np.fromiter(failed, dtype=np.int64))]


def require_images(run: Run) -> None:
    """Raise ``RecordError`` where a run has no image that all its triples share."""
    if not len(run.index):
        why = "; ".join(run.problems[:3]) or "all images failed"
        raise RecordError(
            f"{run.out}: no image has a record of every triple ({why}). The run's command, given again, computes what "
            "is missing"
        )
