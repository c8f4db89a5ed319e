"""Writer of a run folder: shards of records that are whole or absent, continued after any kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import numpy as np

from ...atomic import remove_leftovers_under, write_text
from ...text import plain_text
from ...triple import Triple
from .closing import closed, marks_of, not_lost
from .columns import EXTRA, Array, check_columns, sorted_rows
from .described import BackboneRecord, FailedImage, Failure
from .locks import FolderLock
from .manifest import RunManifest
from .markers import (
    ShardMark,
    lacking_metrics,
    lost_metrics,
    not_finite_maps,
    read_mark,
    still_lost,
    union,
    write_mark,
)
from .parts import PartMark, check_part, part_path, read_part, write_part
from .record_errors import RecordError, RunMismatchError
from .run_folder import MANIFEST_NAME, check_folder
from .timings import Timings

WRITERS = 4
"""Threads that write the parts of a shard; compressing and flushing release the interpreter."""


class RunStore:
    """An open run folder; make one with ``RunStore.open``, and close it (or use it as a context).

    Attributes:
        out: The folder.
        manifest: What the folder holds now: the stored manifest continued by the given one. ``shard_size`` is the
            stored one; plan with ``manifest.shards`` and ``manifest.rows_of(shard)``.
        recoded: Methods and metrics of the user whose file was edited since the folder's records were written.
        others_at_work: Another rank of the launch held the folder when this one finished: it sees to the tables.
        unfinished: Triple -> shards that were neither on disk nor lost when this process finished; only the last
            process of a launch looks.
    """

    def __init__(self, out: Path, manifest: RunManifest, lock: FolderLock, rank: int, world_size: int) -> None:
        self.out, self.manifest = out, manifest
        self._lock, self.rank, self.world_size = lock, rank, world_size
        self.recoded: list[str] = []
        self.others_at_work = False
        self.unfinished: dict[str, list[int]] = {}

    @classmethod
    def open(
        cls, out: str | Path, manifest: RunManifest, *, rank: int = 0, world_size: int = 1, lock: bool = True
    ) -> RunStore:
        """Create ``out``, or continue the run of the same key that it holds; any rank may come first.

        Backbones and triples may be added to a folder; whatever can change a number of what is there may not differ.
        The code of a method or metric of the user may: the records that it made count as not done (``recoded``). A run
        that ended before it wrote anything makes way for another, as its command may have been mended.

        Raises:
            RunMismatchError: ``out`` holds another run (the message says what differs), or files that are no run.
                Nothing in it was changed.
            RunLockedError: Another process writes to it.
            RecordError: Its ``run.json`` is damaged or of another schema version.
        """
        out = Path(out)
        alone = lock and world_size == 1
        check_folder(out, manifest, alone=alone)
        out.mkdir(parents=True, exist_ok=True)
        held = FolderLock(out, rank, world_size, enabled=lock)
        try:
            store = cls(out, manifest.model_copy(deep=True), held, rank, world_size)
            with held.turn():
                stored = check_folder(out, manifest, alone=alone)
                if stored:
                    store.manifest = stored.extended(manifest)
                    store.recoded = manifest.recoded(stored)
                remove_leftovers_under(out)
                store._save()
        except BaseException:
            held.release()
            raise
        return store

    def add_backbone(self, name: str, record: BackboneRecord) -> None:
        """Add a backbone (or branches of a known one) once its weights are known, before its first shard.

        Raises:
            RunMismatchError: The folder has records of other weights under this name.
        """
        with self._lock.turn():
            self._take_over()
            newer = self.manifest.model_copy(update={"backbones": {name: record}})
            different = newer.differences(self.manifest, code=False)
            if different:
                raise RunMismatchError(self.out, different)
            self.manifest = self.manifest.extended(newer)
            self._save()

    def claim(self, backbone: str, part: int | str) -> AbstractContextManager[bool]:
        """Whether a shard of a backbone, or one of its branches, is this process's to do while the context lasts."""
        return self._lock.claim(f"{backbone}.{part}", part if isinstance(part, int) else None)

    @property
    def sees_others(self) -> bool:
        """Whether the file system tells what other processes are at work on, and when they are gone."""
        return self._lock.enabled

    def lacking(self, backbone: str, shard: int, triples: Iterable[str]) -> list[str]:
        """Those of ``triples`` (aliases count as their canonical triple) without a whole part of a shard on disk."""
        wanted: list[str] = list(dict.fromkeys(self.manifest.canonical(t) for t in triples))
        mark = self._mark(backbone, shard)
        if mark is None:
            return wanted
        return [t for t in wanted if not self._whole(mark, t)] if mark.images else []

    def lacking_metrics(self, backbone: str, shard: int, triples: Iterable[str]) -> dict[str, list[str]]:
        """Canonical triples whose whole part of a shard lacks columns of metrics -> these metrics."""
        mark = self._mark(backbone, shard)
        if mark is None or not mark.images:
            return {}
        found = {t: lacking_metrics(self.manifest, mark.parts[t]) for t in triples if self._whole(mark, t)}
        return {t: names for t, names in found.items() if names}

    def shard_done(self, backbone: str, shard: int, triples: Iterable[str]) -> bool:
        """True where whole parts of all ``triples`` (aliases: of their canonical triple) have all their metrics."""
        triples = [self.manifest.canonical(t) for t in triples]
        return not (self.lacking(backbone, shard, triples) or self.lacking_metrics(backbone, shard, triples))

    def write_shard(
        self,
        backbone: str,
        shard: int,
        rows: Mapping[str, Mapping[str, Array]],
        failures: Iterable[FailedImage] = (),
        stages: Mapping[str, float] | None = None,
        notes: Mapping[str, int] | None = None,
        lost: Mapping[str, str] | None = None,
        served: Mapping[str, int] | None = None,
    ) -> None:
        """Write one shard: a part per canonical triple, then its marker.

        Args:
            backbone: The backbone of all triples in ``rows``.
            shard: Number of the shard; its data-set rows are ``manifest.rows_of(shard)``.
            rows: Canonical triple -> column -> values, one per image (``columns.COLUMNS`` lists them); empty where all
                images of the shard failed.
            failures: Images of the shard that have no row.
            stages: Stage -> seconds spent on this shard.
            notes: What had to be computed otherwise than asked for -> how many times.
            lost: Canonical triple that failed and has no rows, or ``metric NAME`` whose column is missing -> why.
            served: Box engine -> maps whose boxes it computed.

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
            checked[triple] = sorted_rows(triple, check_columns(triple, columns, self.manifest), expected, shard)
        span = self.manifest.rows_of(shard)
        old = read_mark(self.out, backbone, shard)
        parts = {t: p for t, p in old.parts.items() if self._whole(old, t)} if old else {}
        with ThreadPoolExecutor(WRITERS) as pool:
            written = pool.map(lambda item: self._write_part(shard, *item), checked.items())
            parts |= self._marked(dict(zip(checked, written, strict=True)), lost or ())
        # Parts that stay keep their notes.
        stay = old if parts.keys() - checked.keys() else None
        mark = ShardMark(
            shard=shard,
            start=span.start,
            stop=span.stop,
            images=len(expected),
            parts=parts,
            failures=union([*(old.failures if old else ()), *failed]),
            stages=dict(stages or {}),
            notes=dict(Counter(stay.notes if stay else {}) | Counter(notes or {})),
            box_engines=dict(Counter(stay.box_engines if stay else {}) + Counter(served or {})),
            not_finite=not_finite_maps(old, parts.keys() - checked.keys(), checked),
            lost=still_lost(old, parts) | dict(lost or {}),
        )
        write_mark(self.out, backbone, mark)

    def add_metrics(
        self, backbone: str, shard: int, rows: Mapping[str, Mapping[str, Array]], lost: Mapping[str, str]
    ) -> None:
        """Put columns of metrics into the whole parts of a shard, in the place of those of the same names.

        Args:
            backbone: The backbone of all triples in ``rows``.
            shard: Number of the shard.
            rows: Canonical triple -> ``index`` and the columns ``extra:NAME`` of the metrics that it lacks.
            lost: ``metric NAME`` that failed, and has no column, -> why.

        Raises:
            RecordError: A part is not whole, or its images are others than those of ``rows``.
        """
        old = self._mark(backbone, shard)
        assert old is not None
        parts = dict(old.parts)
        for triple, columns in rows.items():
            stored = read_part(part_path(self.out, triple, shard))
            stale = {f"{EXTRA}{name}" for name in lacking_metrics(self.manifest, old.parts[triple])}
            fresh = {n: c for n, c in columns.items() if n in stale or n == "index"}
            joined = {n: c for n, c in stored.items() if n not in stale}
            joined |= sorted_rows(triple, fresh, stored["index"], shard)
            written = self._write_part(shard, triple, check_columns(triple, joined, self.manifest))
            parts |= self._marked({triple: written}, lost)
        lost = still_lost(old, parts) | dict(lost)
        write_mark(self.out, backbone, old.model_copy(update={"parts": parts, "lost": lost}))

    def _marked(self, parts: Mapping[str, PartMark], lost: Iterable[str]) -> dict[str, PartMark]:
        """Marks of parts that were just written, with what they say of metrics."""
        said = {"metric_codes": self.manifest.metric_codes, "lost_metrics": lost_metrics(lost)}
        return {triple: mark.model_copy(update=said) for triple, mark in parts.items()}

    def _mark(self, backbone: str, shard: int) -> ShardMark | None:
        """The marker of a shard; None where there is none of these rows."""
        mark, rows = read_mark(self.out, backbone, shard), self.manifest.rows_of(shard)
        return mark if mark is not None and (mark.start, mark.stop) == (rows.start, rows.stop) else None

    def missing(self, triples: Sequence[str]) -> dict[str, list[int]]:
        """Triple -> shards that are not on disk, for those of ``triples`` that are not complete."""
        lacking = {
            t: [s for s in range(self.manifest.shards) if not self.shard_done(Triple.parse(t).backbone, s, [t])]
            for t in triples
        }
        return {t: shards for t, shards in lacking.items() if shards}

    def finish(self, *, durations_s: Mapping[str, float] | None = None, timings: Timings | None = None) -> RunManifest:
        """Write the closing ``run.json``: failures, notes, durations, timings, and whether all shards are there.

        Durations add to those of earlier runs on the folder. Stage timings that ``timings`` lacks come from the shards.
        Of several ranks every one calls it when it is through. One that finds others at work frees the folder and is
        done (``others_at_work``); the last one, which finds nobody, looks for what is missing (``unfinished``).
        """
        with self._lock.turn():
            self._take_over()
            at_work = self._lock.others_at_work() if self.world_size > 1 else False
            missing = {} if at_work else self.missing(self.manifest.triples)
            marks = marks_of(self.manifest, self.out)
            self.unfinished = not_lost(missing, self.manifest, marks) if self.world_size > 1 else {}
            # Where nothing is locked nobody knows whether what is missing is being computed.
            self.others_at_work = bool(at_work) or (at_work is None and bool(self.unfinished))
            finished = not self.others_at_work and not missing
            if finished and self.world_size > 1:
                # Of ranks that were killed since this one began: a finished folder is not opened again.
                remove_leftovers_under(self.out)
            spent, measured = durations_s or {}, timings or Timings()
            # Ranks work side by side: the seconds and costs of one stand for all.
            lead = self.rank == 0
            self.manifest = closed(self.manifest, marks, spent if lead else {}, measured, lead=lead)
            self.manifest = self.manifest.model_copy(update={"finished": finished})
            self._save()
            if self.others_at_work:
                # Before the next one has its turn, so that exactly one finds itself alone.
                self._lock.release()
        return self.manifest

    def _take_over(self) -> None:
        """What other ranks wrote into ``run.json`` since this one read it."""
        if self.world_size > 1:
            stored = check_folder(self.out, self.manifest)
            if stored:
                self.manifest = stored.extended(self.manifest)

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
        write_text(self.out / MANIFEST_NAME, self.manifest.model_dump_json(indent=1) + "\n")
