"""Writer of a run folder: shards of records that are whole or absent, continued after any kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol as TypingProtocol

import numpy as np

from ...atomic import remove_leftovers_under, write_text
from ...text import plain_text
from .columns import Array, check_columns
from .locks import FolderLock
from .manifest import BackboneRecord, Failure, RunManifest
from .markers import LOST_METRIC, ShardMark, read_mark, read_marks, said_notes, write_mark
from .parts import PartMark, check_part, part_path, write_part
from .record_errors import RecordError, RunMismatchError
from .run_folder import MANIFEST_NAME, check_folder, wait_for
from .timings import BackboneTiming, StageTiming, Timings

NOT_FINITE = 2
"""The value of ``degenerate`` for a map that held NaN or infinity."""
WRITERS = 4
"""Threads that write the parts of a shard; compressing and flushing release the interpreter."""


class FailedImage(TypingProtocol):
    """What the store reads of an image that could not be evaluated (``datasets.schema.ImageFailure`` is one)."""

    @property
    def image_id(self) -> str:
        """Id of the image."""

    @property
    def index(self) -> int:
        """Row of the data set."""

    @property
    def reason(self) -> str:
        """Why, for people."""


class RunStore:
    """An open run folder; make one with ``RunStore.open``, and close it (or use it as a context).

    Attributes:
        out: The folder.
        manifest: What the folder holds now: the stored manifest continued by the given one. ``shard_size`` is the
            stored one; plan with ``manifest.shards`` and ``manifest.rows_of(shard)``.
        recoded: Methods and metrics of the user whose file was edited since the folder's records were written.
    """

    def __init__(self, out: Path, manifest: RunManifest, lock: FolderLock, rank: int, world_size: int) -> None:
        self.out, self.manifest = out, manifest
        self._lock, self.rank, self.world_size = lock, rank, world_size
        self.recoded: list[str] = []

    @classmethod
    def open(cls, out: str | Path, manifest: RunManifest, *, rank: int = 0, world_size: int = 1) -> RunStore:
        """Create ``out``, or continue the run of the same key that it holds.

        Backbones and triples may be added to a folder; whatever can change a number of what is there may not differ.
        The code of a method or metric of the user may: the records that it made count as not done (``recoded``).

        Raises:
            RunMismatchError: ``out`` holds another run (the message says what differs), or files that are no run.
                Nothing in it was changed.
            RunLockedError: Another process writes to it.
            RecordError: Its ``run.json`` is damaged or of another schema version.
        """
        out = Path(out)
        check_folder(out, manifest)
        out.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(out, rank, world_size)
        try:
            if rank and not (out / MANIFEST_NAME).exists():
                wait_for(out / MANIFEST_NAME)
            stored = check_folder(out, manifest)
            store = cls(
                out, stored.extended(manifest) if stored else manifest.model_copy(deep=True), lock, rank, world_size
            )
            store.recoded = manifest.recoded(stored) if stored else []
            if world_size == 1:
                remove_leftovers_under(out)
            store._save()
        except BaseException:
            lock.release()
            raise
        return store

    def add_backbone(self, name: str, record: BackboneRecord) -> None:
        """Add a backbone (or branches of a known one) once its weights are known, before its first shard.

        Raises:
            RunMismatchError: The folder has records of other weights under this name.
        """
        newer = self.manifest.model_copy(update={"backbones": {name: record}})
        different = newer.differences(self.manifest, code=False)
        if different:
            raise RunMismatchError(self.out, different)
        self.manifest = self.manifest.extended(newer)
        self._save()

    def lacking(self, backbone: str, shard: int, triples: Iterable[str]) -> list[str]:
        """Those of ``triples`` (aliases count as their canonical triple) without a whole part of a shard on disk."""
        wanted: list[str] = list(dict.fromkeys(self.manifest.canonical(t) for t in triples))
        mark = read_mark(self.out, backbone, shard)
        rows = self.manifest.rows_of(shard)
        # A metric that was lost is a column of every part.
        if mark is None or (mark.start, mark.stop) != (rows.start, rows.stop) or mark.lost_metrics:
            return wanted
        return [t for t in wanted if not self._whole(mark, t)] if mark.images else []

    def shard_done(self, backbone: str, shard: int, triples: Iterable[str]) -> bool:
        """True where whole parts of all ``triples`` (aliases count as their canonical triple) are on disk."""
        return not self.lacking(backbone, shard, triples)

    def write_shard(
        self,
        backbone: str,
        shard: int,
        rows: Mapping[str, Mapping[str, Array]],
        failures: Iterable[FailedImage] = (),
        stages: Mapping[str, float] | None = None,
        notes: Mapping[str, int] | None = None,
        lost: Mapping[str, str] | None = None,
    ) -> None:
        """Write one shard: a part per canonical triple, then its marker.

        Args:
            backbone: The backbone of all triples in ``rows``.
            shard: Number of the shard; its data-set rows are ``manifest.rows_of(shard)``.
            rows: Canonical triple -> column -> values, one per image (``columns.COLUMNS`` lists them); empty where all
                images of the shard failed.
            failures: Images of the shard that have no row.
            stages: Stage -> seconds spent on this shard.
            notes: What had to be computed otherwise than asked for -> forwards concerned.
            lost: Canonical triple that failed and has no rows, or ``metric NAME`` whose column is missing -> why.

        Raises:
            RecordError: A column is missing or misshapen, a triple is an alias, or the rows and failures together are
                not exactly the images of the shard.
        """
        failed = [
            Failure(image_id=plain_text(f.image_id), index=f.index, reason=plain_text(f.reason)) for f in failures
        ]
        expected = np.array(sorted(set(self.manifest.rows_of(shard)) - {f.index for f in failed}), dtype=np.int64)
        if not rows and not lost and len(expected):
            raise RecordError(
                f"shard {shard} of {backbone}: {len(expected)} images have neither a record nor a failure"
            )
        checked: dict[str, dict[str, Array]] = {}
        for triple, columns in rows.items():
            if self.manifest.canonical(triple) != triple:
                raise RecordError(f"{triple} is an alias of {self.manifest.canonical(triple)}; write that one only")
            checked[triple] = _sorted_rows(triple, check_columns(triple, columns, self.manifest), expected, shard)
        span = self.manifest.rows_of(shard)
        old = read_mark(self.out, backbone, shard)
        parts = {t: p for t, p in old.parts.items() if self._whole(old, t)} if old else {}
        with ThreadPoolExecutor(WRITERS) as pool:
            written = pool.map(lambda item: self._write_part(shard, *item), checked.items())
            parts |= dict(zip(checked, written, strict=True))
        mark = ShardMark(
            shard=shard,
            start=span.start,
            stop=span.stop,
            images=len(expected),
            parts=parts,
            failures=_union([*(old.failures if old else ()), *failed]),
            stages=dict(stages or {}),
            # Parts that stay keep their notes.
            notes=dict(Counter(old.notes if old and parts.keys() - checked.keys() else {}) | Counter(notes or {})),
            not_finite=_not_finite(old, parts.keys() - checked.keys(), checked),
            lost=_still_lost(old, parts.keys(), checked.keys()) | dict(lost or {}),
        )
        write_mark(self.out, backbone, mark)

    def missing(self, triples: Sequence[str]) -> dict[str, list[int]]:
        """Triple -> shards that are not on disk, for those of ``triples`` that are not complete."""
        lacking = {
            t: [s for s in range(self.manifest.shards) if not self.shard_done(t.rsplit("/", 2)[0], s, [t])]
            for t in triples
        }
        return {t: shards for t, shards in lacking.items() if shards}

    def finish(self, *, durations_s: Mapping[str, float] | None = None, timings: Timings | None = None) -> RunManifest:
        """Write the closing ``run.json`` (rank 0 after all ranks are through): failures, notes, durations, timings.

        Durations add to those of earlier runs on the folder. Stage timings that ``timings`` lacks come from the shards.
        """
        backbones = {t.rsplit("/", 2)[0] for t in self.manifest.triples}
        marks = {b: list(read_marks(self.out, b)) for b in sorted(backbones)}
        spent = dict(self.manifest.durations_s)
        for stage, seconds in (durations_s or {}).items():
            spent[stage] = spent.get(stage, 0.0) + seconds
        measured = self.manifest.timings.merged(timings or Timings())
        for backbone, timing in measured.backbones.items():
            if not timing.stages:
                measured.backbones[backbone] = with_shard_stages(timing, marks.get(backbone, []))
        notes = {f"{b}: {note}": count for b, found in marks.items() for note, count in said_notes(found).items()}
        self.manifest = self.manifest.model_copy(
            update={
                "settings": self.manifest.settings | ({"notes": notes} if notes else {}),
                "failures": _union([f for found in marks.values() for m in found for f in m.failures]),
                "durations_s": spent,
                "timings": measured,
                "finished": not self.missing(self.manifest.triples),
            }
        )
        self._save()
        return self.manifest

    def close(self) -> None:
        """Free the folder."""
        self._lock.release()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_part(self, shard: int, triple: str, columns: Mapping[str, Array]) -> PartMark:
        return write_part(part_path(self.out, triple, shard), columns, self.manifest.record_key(triple))

    def _whole(self, mark: ShardMark, triple: str) -> bool:
        part = mark.parts.get(triple)
        key = self.manifest.record_key(triple)
        return part is not None and check_part(part_path(self.out, triple, mark.shard), part, key) is None

    def _save(self) -> None:
        if self.rank == 0:
            write_text(self.out / MANIFEST_NAME, self.manifest.model_dump_json(indent=1) + "\n")


def _not_finite(
    old: ShardMark | None, kept: Iterable[str], written: Mapping[str, Mapping[str, Array]]
) -> dict[str, int]:
    """Maps that held NaN or infinity, by triple: of the parts that stay, and of those just written."""
    before = old.not_finite if old else {}
    counts = {t: before[t] for t in kept if t in before}
    counts |= {t: int((columns["degenerate"] == NOT_FINITE).sum()) for t, columns in written.items()}
    return {t: n for t, n in sorted(counts.items()) if n}


def _still_lost(old: ShardMark | None, parts: Collection[str], written: Collection[str]) -> dict[str, str]:
    """What an earlier run lost on a shard and this one did not make good: a triple's part, a metric's column."""
    stays = set(parts) - set(written)
    return {
        what: why
        for what, why in (old.lost.items() if old else ())
        if (bool(stays) if what.startswith(LOST_METRIC) else what not in parts)
    }


def with_shard_stages(timing: BackboneTiming, marks: Sequence[ShardMark]) -> BackboneTiming:
    """``timing`` with stage costs per image taken from the shards' seconds."""
    samples: dict[str, list[float]] = {}
    for mark in marks:
        for stage, seconds in mark.stages.items():
            if mark.images:
                samples.setdefault(stage, []).append(1000 * seconds / mark.images)
    return timing.model_copy(update={"stages": {s: StageTiming.of(v, "shard") for s, v in samples.items()}})


def _sorted_rows(triple: str, columns: dict[str, Array], expected: Array, shard: int) -> dict[str, Array]:
    order = np.argsort(columns["index"], kind="stable")
    index = columns["index"][order]
    if not np.array_equal(index, expected):
        lost, foreign = np.setdiff1d(expected, index), np.setdiff1d(index, expected)
        what = f"lost rows {lost[:5].tolist()}" if len(lost) else f"unexpected rows {foreign[:5].tolist()}"
        if not len(lost) and not len(foreign):
            what = "rows that occur twice"
        raise RecordError(f"records of {triple}, shard {shard}: {what}; rows and failures must be the shard's images")
    return {name: value[order] for name, value in columns.items()}


def _union(failures: Iterable[Failure]) -> list[Failure]:
    return sorted({f.index: f for f in failures}.values(), key=lambda f: f.index)
