"""The closing ``run.json``: what the shards of a run say together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ...triple import Triple
from .manifest import RunManifest
from .markers import ShardMark, box_engines, read_marks, said_notes, union, with_shard_stages
from .timings import Timings

Marks = Mapping[str, Sequence[ShardMark]]
"""The markers on disk, by backbone."""


def marks_of(manifest: RunManifest, out: Path) -> Marks:
    """All readable markers of a run's backbones."""
    return {b: list(read_marks(out, b)) for b in sorted({t.backbone for t in manifest.triples})}


def closed(
    manifest: RunManifest, marks: Marks, durations_s: Mapping[str, float], timings: Timings, *, lead: bool
) -> RunManifest:
    """The manifest with the failures, notes, box engines and stage timings of all shards on disk.

    Args:
        manifest: As the folder holds it now.
        marks: Of the shards on disk.
        durations_s: Stage -> seconds, added to those of earlier runs on the folder.
        timings: What this process measured; stage timings that it lacks come from the shards.
        lead: ``timings`` win over the stored ones; else they only fill what is missing there.
    """
    measured = manifest.timings.merged(timings) if lead else timings.merged(manifest.timings)
    for backbone, timing in measured.backbones.items():
        if not timing.stages:
            measured.backbones[backbone] = with_shard_stages(timing, marks.get(backbone, []))
    served = box_engines(m for found in marks.values() for m in found)
    notes = {f"{b}: {note}": count for b, found in marks.items() for note, count in said_notes(found, manifest).items()}
    said = ({"notes": notes} if notes else {}) | ({"boxes_by": served} if served else {})
    spent = dict(manifest.durations_s)
    for stage, seconds in durations_s.items():
        spent[stage] = spent.get(stage, 0.0) + seconds
    return manifest.model_copy(
        update={
            "settings": manifest.settings | said,
            "failures": union([f for found in marks.values() for m in found for f in m.failures]),
            "durations_s": spent,
            "timings": measured,
        }
    )


def not_lost(missing: Mapping[str, list[int]], manifest: RunManifest, marks: Marks) -> dict[str, list[int]]:
    """What is missing (triple -> shards), less the triples of which a shard says that they were lost."""
    lost = {b: {t for m in found for t in m.lost} for b, found in marks.items()}
    return {
        t: shards
        for t, shards in missing.items()
        if manifest.canonical(t) not in lost.get(Triple.parse(t).backbone, ())
    }
