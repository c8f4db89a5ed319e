"""Writer of a run folder: shards of records that are whole or absent, continued after any kill."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol as TypingProtocol

import numpy as np
from pydantic import ValidationError

from .atomic import TEMP_SUFFIX, plain_text, write_text
from .columns import Array, check_columns
from .errors import RecordError, ResultsError, RunMismatchError
from .locks import LOCK_NAME, FolderLock
from .manifest import SCHEMA_VERSION, BackboneRecord, Failure, RunManifest
from .markers import PartMark, ShardMark, read_mark, read_marks, write_mark
from .parts import part_path, write_part
from .timing_schema import BackboneTiming, StageTiming, Timings

MANIFEST_NAME = "run.json"
WAIT_FOR_RANK0_S = 120.0


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
    """

    def __init__(self, out: Path, manifest: RunManifest, lock: FolderLock, rank: int, world_size: int) -> None:
        self.out, self.manifest = out, manifest
        self._lock, self.rank, self.world_size = lock, rank, world_size

    @classmethod
    def open(cls, out: str | Path, manifest: RunManifest, *, rank: int = 0, world_size: int = 1) -> RunStore:
        """Create ``out``, or continue the run of the same key that it holds.

        Backbones and triples may be added to a folder; whatever can change a number of what is there may not differ.

        Raises:
            RunMismatchError: ``out`` holds another run (the message says what differs), or files that are no run.
                Nothing in it was changed.
            RunLockedError: Another process writes to it.
            RecordError: Its ``run.json`` is damaged or of another schema version.
        """
        out = Path(out)
        _check_folder(out, manifest)
        out.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(out, rank, world_size)
        try:
            if rank and not (out / MANIFEST_NAME).exists():
                _wait_for(out / MANIFEST_NAME)
            stored = _check_folder(out, manifest)
            store = cls(
                out, stored.extended(manifest) if stored else manifest.model_copy(deep=True), lock, rank, world_size
            )
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
        different = newer.differences(self.manifest)
        if different:
            raise RunMismatchError(self.out, different)
        self.manifest = self.manifest.extended(newer)
        self._save()

    def shard_done(self, backbone: str, shard: int, triples: Iterable[str]) -> bool:
        """True where whole parts of all ``triples`` (aliases count as their canonical triple) are on disk."""
        mark = read_mark(self.out, backbone, shard)
        rows = self.manifest.rows_of(shard)
        if mark is None or (mark.start, mark.stop) != (rows.start, rows.stop):
            return False
        if not mark.images:
            return True
        return all(self._whole(mark, triple) for triple in {self.manifest.canonical(t) for t in triples})

    def write_shard(
        self,
        backbone: str,
        shard: int,
        rows: Mapping[str, Mapping[str, Array]],
        failures: Iterable[FailedImage] = (),
        stages: Mapping[str, float] | None = None,
    ) -> None:
        """Write one shard: a part per canonical triple, then its marker.

        Args:
            backbone: The backbone of all triples in ``rows``.
            shard: Number of the shard; its data-set rows are ``manifest.rows_of(shard)``.
            rows: Canonical triple -> column -> values, one per image (``columns.COLUMNS`` lists them); empty where all
                images of the shard failed.
            failures: Images of the shard that have no row.
            stages: Stage -> seconds spent on this shard.

        Raises:
            RecordError: A column is missing or misshapen, a triple is an alias, or the rows and failures together are
                not exactly the images of the shard.
        """
        failed = [
            Failure(image_id=plain_text(f.image_id), index=f.index, reason=plain_text(f.reason)) for f in failures
        ]
        expected = np.array(sorted(set(self.manifest.rows_of(shard)) - {f.index for f in failed}), dtype=np.int64)
        if not rows and len(expected):
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
        for triple, columns in checked.items():
            key = self.manifest.record_key(triple)
            size = write_part(part_path(self.out, triple, shard), columns, key)
            parts[triple] = PartMark(key=key, bytes=size)
        mark = ShardMark(
            shard=shard,
            start=span.start,
            stop=span.stop,
            images=len(expected),
            parts=parts,
            failures=_union([*(old.failures if old else ()), *failed]),
            stages=dict(stages or {}),
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
        """Write the closing ``run.json`` (rank 0 after all ranks are through): failures, durations, timings.

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
        self.manifest = self.manifest.model_copy(
            update={
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

    def _whole(self, mark: ShardMark, triple: str) -> bool:
        part = mark.parts.get(triple)
        if part is None or part.key != self.manifest.record_key(triple):
            return False
        path = part_path(self.out, triple, mark.shard)
        return path.is_file() and path.stat().st_size == part.bytes

    def _save(self) -> None:
        if self.rank == 0:
            write_text(self.out / MANIFEST_NAME, self.manifest.model_dump_json(indent=1) + "\n")


def read_manifest(out: Path) -> RunManifest:
    """The manifest of a run folder.

    Raises:
        RecordError: There is none, it is damaged, or another schema version wrote it (the message names both).
    """
    path = out / MANIFEST_NAME
    try:
        content = json.loads(path.read_bytes())
        version = content["schema_version"]
    except FileNotFoundError:
        raise RecordError(f"{out} is not a run folder: it has no {MANIFEST_NAME}") from None
    except (ValueError, KeyError, TypeError):
        raise RecordError(f"{path}: damaged; expected the JSON object that a run writes") from None
    if version != SCHEMA_VERSION:
        writer = content.get("code_version", "?")
        raise RecordError(
            f"{path}: schema version {version} (cambench {writer}); this cambench reads version {SCHEMA_VERSION}. "
            f"Read it with cambench {writer}, or run again"
        )
    try:
        return RunManifest.model_validate(content)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3])
        raise RecordError(f"{path}: {fields}") from None


def with_shard_stages(timing: BackboneTiming, marks: Sequence[ShardMark]) -> BackboneTiming:
    """``timing`` with stage costs per image taken from the shards' seconds."""
    samples: dict[str, list[float]] = {}
    for mark in marks:
        for stage, seconds in mark.stages.items():
            if mark.images:
                samples.setdefault(stage, []).append(1000 * seconds / mark.images)
    return timing.model_copy(update={"stages": {s: StageTiming.of(v, "shard") for s, v in samples.items()}})


def _check_folder(out: Path, manifest: RunManifest) -> RunManifest | None:
    """The stored manifest that ``manifest`` may continue; None for an empty or new folder. Writes nothing."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise RunMismatchError(out, ["it is a file, not a folder"])
    if (out / MANIFEST_NAME).exists():
        stored = read_manifest(out)
        different = manifest.differences(stored)
        if different:
            raise RunMismatchError(out, different)
        return stored
    foreign = sorted(
        p.name for p in out.iterdir() if not (p.name.startswith(LOCK_NAME) or p.name.endswith(TEMP_SUFFIX))
    )
    if foreign:
        raise RunMismatchError(out, [f"no {MANIFEST_NAME}, but other files: {', '.join(map(repr, foreign[:5]))}"])
    return None


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


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + WAIT_FOR_RANK0_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise ResultsError(f"{path}: rank 0 did not write it within {WAIT_FOR_RANK0_S:.0f} s")
        time.sleep(0.05)
