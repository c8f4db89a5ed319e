"""Completion markers: ``OUT/shards/<backbone>/00003.json``, written last of all files of a shard."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...atomic import write_text
from ...text import number_of
from ...triple import Triple, file_name
from .columns import Array
from .described import Failure
from .manifest import SCHEMA_VERSION, RunManifest
from .parts import PartMark
from .timings import BackboneTiming, StageTiming

NOT_FINITE = 2
"""The value of ``degenerate`` for a map that held NaN or infinity."""
LOST_METRIC = "metric "
"""How a metric is named among what a shard lost."""


class ShardMark(BaseModel):
    """What is on disk of one shard of one backbone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    shard: int
    start: int
    """First data-set row."""
    stop: int
    """Row after the last one."""
    images: int
    """Images with records: ``stop - start`` less the failures."""
    parts: dict[str, PartMark]
    """Canonical triple -> its part."""
    failures: list[Failure] = Field(default_factory=list)
    stages: dict[str, float] = Field(default_factory=dict)
    """Stage -> seconds spent on this shard."""
    notes: dict[str, int] = Field(default_factory=dict)
    """What had to be computed otherwise than asked for -> how many times."""
    box_engines: dict[str, int] = Field(default_factory=dict)
    """Box engine -> maps that it served."""
    not_finite: dict[str, int] = Field(default_factory=dict)
    """Canonical triple -> its maps that held NaN or infinity, scored as empty maps."""
    lost: dict[str, str] = Field(default_factory=dict)
    """Canonical triple, or ``metric NAME``, that failed on this shard -> why; it has no part, or no column, here."""


def mark_path(out: Path, backbone: str, shard: int) -> Path:
    """File of a shard's marker."""
    return out / "shards" / file_name(backbone) / f"{shard:05d}.json"


def write_mark(out: Path, backbone: str, mark: ShardMark) -> None:
    """Write a marker atomically."""
    write_text(mark_path(out, backbone, mark.shard), mark.model_dump_json(indent=1) + "\n")


def read_mark(out: Path, backbone: str, shard: int) -> ShardMark | None:
    """The marker of a shard; None where there is none, or it is damaged (the shard then counts as not done)."""
    try:
        return ShardMark.model_validate_json(mark_path(out, backbone, shard).read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValidationError):
        return None


def read_marks(out: Path, backbone: str) -> Iterator[ShardMark]:
    """All readable markers of a backbone, by shard."""
    found = (read_mark(out, backbone, int(path.stem)) for path in _files(out, backbone))
    return (mark for mark in found if mark is not None)


def said_notes(marks: Iterable[ShardMark], manifest: RunManifest) -> dict[str, str]:
    """The notes of several shards, those of maps that were not finite included -> how much is concerned.

    Of maps made elsewhere the manifest says already which are missing, no maps, or not finite in their files.
    """
    marks = list(marks)
    found = {note: "once" if n == 1 else f"{n} times" for note, n in counted(marks).items()}
    given = manifest.settings.get("maps", {})
    for triple, n in sum((Counter(mark.not_finite) for mark in marks), Counter[str]()).items():
        about = given.get(Triple.parse(triple).cam)
        if about is None:
            found[f"{triple} made maps that hold NaN or infinity, scored as empty maps"] = number_of(n, "image")
        elif (left := n - sum(about[why] for why in ("missing", "without_a_map", "not_finite"))) > 0:
            found[f"{triple}: maps overflow when they are resized, and are scored as empty maps"] = number_of(
                left, "image"
            )
    return found


def counted(marks: Iterable[ShardMark]) -> Counter[str]:
    """The notes of several shards -> how many times."""
    return sum((Counter(mark.notes) for mark in marks), Counter())


def box_engines(marks: Iterable[ShardMark]) -> dict[str, int]:
    """Box engine -> maps of several shards that it served."""
    return dict(sum((Counter(mark.box_engines) for mark in marks), Counter[str]()))


def damaged_marks(out: Path, backbone: str) -> list[Path]:
    """Files of the markers that cannot be read."""
    return [path for path in _files(out, backbone) if read_mark(out, backbone, int(path.stem)) is None]


def _files(out: Path, backbone: str) -> list[Path]:
    folder = out / "shards" / file_name(backbone)
    return [p for p in sorted(folder.iterdir()) if re.fullmatch(r"\d+\.json", p.name)] if folder.is_dir() else []


def not_finite_maps(
    old: ShardMark | None, kept: Iterable[str], written: Mapping[str, Mapping[str, Array]]
) -> dict[str, int]:
    """Maps that held NaN or infinity, by triple: of the parts that stay, and of those just written."""
    before = old.not_finite if old else {}
    counts = {t: before[t] for t in kept if t in before}
    counts |= {t: int((columns["degenerate"] == NOT_FINITE).sum()) for t, columns in written.items()}
    return {t: n for t, n in sorted(counts.items()) if n}


def still_lost(old: ShardMark | None, parts: Mapping[str, PartMark]) -> dict[str, str]:
    """What an earlier run lost on a shard and ``parts``, as they are now, lack still: a part, a metric's column."""
    lacking = {f"{LOST_METRIC}{name}" for part in parts.values() for name in part.lost_metrics}
    return {
        what: why
        for what, why in (old.lost.items() if old else ())
        if (what in lacking if what.startswith(LOST_METRIC) else what not in parts)
    }


def lost_metrics(lost: Iterable[str]) -> list[str]:
    """The names of the metrics among what was lost."""
    return sorted(what.removeprefix(LOST_METRIC) for what in lost if what.startswith(LOST_METRIC))


def lacking_metrics(manifest: RunManifest, part: PartMark) -> list[str]:
    """The metrics whose columns a whole part lacks: they failed, or their code is another one now."""
    changed = {name for name, code in manifest.metric_codes.items() if part.metric_codes.get(name) != code}
    return sorted(changed.union(part.lost_metrics))


def with_shard_stages(timing: BackboneTiming, marks: Sequence[ShardMark]) -> BackboneTiming:
    """``timing`` with stage costs per image taken from the shards' seconds."""
    samples: dict[str, list[float]] = {}
    for mark in marks:
        for stage, seconds in mark.stages.items():
            if mark.images:
                samples.setdefault(stage, []).append(1000 * seconds / mark.images)
    return timing.model_copy(update={"stages": {s: StageTiming.of(v, "shard") for s, v in samples.items()}})


def union(failures: Iterable[Failure]) -> list[Failure]:
    """Each failed image once, by row."""
    return sorted({f.index: f for f in failures}.values(), key=lambda f: f.index)
