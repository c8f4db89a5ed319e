"""What stands around a table, made once for every format: facts of the data, footnotes, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...text import visible
from ...triple import Triple
from ..records.manifest import RunManifest
from ..scores.merge import Merged
from ..statistics.discrimination import Unbeaten
from ..statistics.standing import Standing
from .extra_columns import COST, MEASURED
from .naming import BASE_HEAD, CONTROL_MARK, backbone_title, cam_cost, head_title, identity, row_title
from .selection import Block, Row, TableOptions

SIGNIFICANT = "*"
UNBEATEN_MARK = "‡"
NOT_RUN = "not run"
"""What remarks on triples that a network or method does not allow begin with."""
LISTED = 10
"""Images, problems and skipped triples that are named one by one; the rest are counted."""


@dataclass(frozen=True)
class Footnotes:
    """Text of a footnote -> its letter: which rows share their records, and why."""

    letters: dict[str, str]

    @classmethod
    def of(cls, merged: Merged, blocks: Sequence[Block]) -> Footnotes:
        """Letters for the distinct texts of the tables' rows, in table order."""
        texts = dict.fromkeys(filter(None, (_shared(merged, row) for block in blocks for row in block.rows)))
        return cls({text: _letter(i) for i, text in enumerate(texts)})

    def mark(self, merged: Merged, row: Row) -> str:
        """`` (a)`` for a row that shares its records, else nothing."""
        text = _shared(merged, row)
        return f" ({self.letters[text]})" if text else ""

    @property
    def notes(self) -> list[str]:
        """The footnotes."""
        return [f"({letter}) computed once: {text}." for text, letter in self.letters.items()]


def _shared(merged: Merged, row: Row) -> str:
    """What a row shares its records with; empty where it stands for itself alone."""
    if not row.others:
        return identity(merged.manifest(row.triple), row.triple) if merged.alias_of(row.triple) else ""
    manifest = merged.manifest(row.triple)
    head = row.triple.head
    names = [_name(manifest, other, head) for other in row.others]
    aliased = [t for t in (row.triple, *row.others) if merged.alias_of(t)]
    return f"also {', '.join(names)} ({_reasons([identity(manifest, t) for t in aliased])})"


def _name(manifest: RunManifest, triple: str, head: str) -> str:
    """A row's name beside rows of ``head``: the head is said where it is another."""
    title = row_title(manifest, triple)
    own = Triple.parse(triple).head
    if own == head:
        return title.partition(" + ")[0]
    return f"{title} + {head_title(manifest, own)}" if own == BASE_HEAD else title


def _reasons(texts: Iterable[str]) -> str:
    """Identities in words; a condition that several begin with is said once."""
    by_condition: dict[str, list[str]] = {}
    for text in dict.fromkeys(texts):
        condition, comma, claim = text.partition(", ")
        known = by_condition.setdefault(condition if comma else "", [])
        if (claim if comma else text) not in known:
            known.append(claim if comma else text)
    return "; ".join(f"{c}, {', '.join(claims)}" if c else ", ".join(claims) for c, claims in by_condition.items())


def facts(merged: Merged, stats: Standing | None) -> list[tuple[str, str]]:
    """Data set, images, protocol, code, options and statistics of the tables."""
    manifest = merged.runs[0].manifest
    data, protocol = manifest.dataset, manifest.protocol
    versions = ", ".join(dict.fromkeys(r.manifest.code_version for r in merged.runs))
    left_out = data.rows - merged.images
    counted = f"{merged.images} of {data.rows}" + (
        f" ({left_out} left out of every row, see below)" if left_out else ""
    )
    # A run with --limit N has the fingerprint "<of the data>:N".
    if limit := data.fingerprint.partition(":")[2]:
        counted += f", the first {limit} of the split only"
    found = [
        ("Data set", f"{data.title or data.name}, split {data.split}, {data.num_classes} classes"),
        ("Images", counted),
        ("Data fingerprint", data.fingerprint),
        ("Protocol", f"{protocol.name} (version {protocol.version}, digest {protocol.digest})"),
        ("Records", f"cambench {versions}"),
    ]
    absent = [] if data.labelled else ["classification (the images have no labels; the predicted class is drawn)"]
    rows = "classification (a row is an image and one of its classes, whose map is drawn; no prediction is all of them)"
    absent += [rows] if data.class_rows else []
    absent += [] if data.has_boxes or data.has_masks else ["localisation (the images have no boxes and no masks)"]
    found += [("Not available", "; ".join(absent))] if absent else []
    options = list(dict.fromkeys(_options(r.manifest) for r in merged.runs))
    found += [("Options", text) for text in options if text]
    if stats is not None:
        drawn = f"image bootstrap, {stats.resamples} resamples, seed {stats.seed}"
        found.append(("Statistics", f"{stats.level:.0%} intervals, {drawn}; significance level {stats.alpha:g}"))
    return found


def caption(merged: Merged) -> str:
    """What a table is of, in the words of a caption."""
    data = merged.runs[0].manifest.dataset
    return f"{data.name}, split {data.split}, {merged.images} images, protocol {merged.runs[0].manifest.protocol.name}"


def _options(manifest: RunManifest) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(manifest.options.items()))


def score_notes(
    merged: Merged, tables: Sequence[Block], footnotes: Footnotes, stats: Standing | None, options: TableOptions
) -> list[str]:
    """What the marks of score tables mean."""
    metrics = {m.name: m for block in tables for m in block.metrics}
    notes = [
        "Best of a backbone in bold, second best underlined or in italics, controls aside; in parentheses the change "
        "to the same method with the softmax head, in the unit of the score."
    ]
    if stats is not None and any(stats.tests.values()):
        counts = ", ".join(f"{count} ({name})" for name, count in stats.tests.items() if count)
        notes.append(
            f"{SIGNIFICANT} and colour: a change that is significant after Holm's correction over the changes of its "
            f"backbone: {counts}. McNemar's test for GT-known and Top-1 Loc, a paired bootstrap otherwise. Rows of the "
            "same records are tested once."
        )
    plain = [m.title for m in metrics.values() if m.unit != "%"]
    notes.append("Scores in %" + (f", except {', '.join(plain)}." if plain else "."))
    if any(block.shows(COST, MEASURED) for block in tables):
        triples = [row.triple for block in tables for row in block.rows]
        through = any("network " in cam_cost(merged.manifest(t), t.backbone, t.cam) for t in triples)
        notes.append(
            "Cost: declared, of one map alone; N, P, Q: channels, rows and columns of the target feature map. Rows of "
            "one run share the forward and the head's backward."
            + (
                " A network forward or backward runs the whole network: its head reads more than the map."
                if through
                else ""
            )
            + (" Measured: without any score." if any(block.shows(MEASURED) for block in tables) else "")
        )
    marks = mark_notes(merged, tables, footnotes, stats, metrics)
    if options.layout == "compact":
        compact = "Compact: the other metrics and rows are in scores.csv, and in the layout full."
        marks.insert(len(marks) - len(footnotes.notes), compact)
    return notes + marks


def mark_notes(
    merged: Merged, tables: Sequence[Block], footnotes: Footnotes, stats: Standing | None, metrics: Iterable[str]
) -> list[str]:
    """What the marks beside names and metrics mean, in the same words wherever a table is shown."""
    notes = []
    rows = [row.triple for block in tables for row in block.rows]
    if any(merged.manifest(t).is_control(t.cam) for t in rows):
        notes.append(f"{CONTROL_MARK} a control: its map does not look at the image's class evidence.")
    notes += unbeaten_notes(merged, stats, [b.backbone for b in tables], metrics)
    return notes + footnotes.notes


def unbeaten_notes(
    merged: Merged, stats: Standing | None, backbones: Sequence[str], metrics: Iterable[str]
) -> list[str]:
    """A sentence for each metric in which a control is not significantly worse than the methods of a backbone.

    Backbones of which the same is to be said share a sentence.
    """
    if stats is None:
        return []
    shown = set(metrics)
    groups: dict[tuple[str, str, bool], list[tuple[str, str, Unbeaten]]] = {}
    for backbone in backbones:
        for name, found in stats.unbeaten.get(backbone, {}).items():
            if name in shown:
                manifest = merged.manifest(found.control)
                place = backbone_title(manifest, backbone), row_title(manifest, found.best), found
                key = name, row_title(manifest, found.control), found.too_few
                groups.setdefault(key, []).append(place)
    notes = []
    for (_, control, _), places in groups.items():
        where, best, found = places[0]
        if len(places) > 1:
            notes.append(f"{UNBEATEN_MARK} {found.sentence_with(control, places)}")
        else:
            prefix = f"{where}: " if len(backbones) > 1 else ""
            notes.append(f"{UNBEATEN_MARK} {prefix}{found.sentence(control, best)}")
    return notes


def remarks(merged: Merged) -> list[str]:
    """What a reader must know of the runs themselves: images left out, problems, triples without records."""
    failures = {f.index: f for r in merged.runs for f in r.failures}
    notes = _some("image left out", [f"{f.image_id} (row {i}): {f.reason}" for i, f in sorted(failures.items())])
    for run in merged.runs:
        notes += _some("problem", [line.replace(f"{run.out}/", "") for line in run.problems])
        notes += [visible(note) for note in run.notes]
        given = run.manifest.settings.get("maps", {})
        notes += [visible(line) for about in given.values() for line in about["findings"]]
        notes += _some("no records", run.pending)
        # Many triples are skipped for one reason; say each reason once.
        reasons: dict[str, list[str]] = {}
        for triple, why in run.manifest.skipped.items():
            reasons.setdefault(why, []).append(triple)
        notes += _some(NOT_RUN, [f"{', '.join(triples)}: {why}" for why, triples in reasons.items()])
        notes += [f"data: {note}" for note in run.manifest.dataset.notes[:LISTED]]
    return list(dict.fromkeys(notes))


def _some(what: str, lines: Sequence[str]) -> list[str]:
    shown = [f"{what}: {visible(line)}" for line in lines[:LISTED]]
    return shown + ([f"{what}: {len(lines) - LISTED} more, see run.json"] if len(lines) > LISTED else [])


def _letter(number: int) -> str:
    prefix = _letter(number // 26 - 1) if number >= 26 else ""
    return prefix + "abcdefghijklmnopqrstuvwxyz"[number % 26]
