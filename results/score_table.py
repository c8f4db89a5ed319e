"""The score tables: per backbone, a base row per method and the rows of its other heads with their change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .escape import visible
from .grid import Cell, Document, Grid, Tone
from .manifest import RunManifest, split_triple
from .merge import Merged
from .scores import Metric

BASE_HEAD = "softmax"
CONTROL_MARK = "†"
LISTED = 10
"""Images, problems and skipped triples that are named one by one; the rest are counted."""


@dataclass(frozen=True)
class Footnotes:
    """Identity -> its letter."""

    letters: dict[str, str]

    @classmethod
    def of(cls, merged: Merged) -> Footnotes:
        """Letters for the distinct identities of the aliased triples, in table order."""
        distinct = dict.fromkeys(_identity(merged.manifest(t), t) for t in merged.triples if merged.alias_of(t))
        return cls({text: _letter(i) for i, text in enumerate(distinct)})

    def mark(self, merged: Merged, triple: str) -> str:
        """`` (a)`` for an aliased triple, else nothing."""
        return f" ({self.letters[_identity(merged.manifest(triple), triple)]})" if merged.alias_of(triple) else ""


def score_document(merged: Merged) -> Document:
    """The score tables of merged runs, without a date, a path or a timing: the same records give the same bytes."""
    footnotes = Footnotes.of(merged)
    groups: dict[str, dict[str, list[str]]] = {}
    for triple in merged.triples:
        backbone, cam, _ = split_triple(triple)
        groups.setdefault(backbone, {}).setdefault(cam, []).append(triple)
    grids = [_grid(merged, footnotes, backbone, cams) for backbone, cams in groups.items()]
    return Document("Scores", grids, _facts(merged), _notes(merged, footnotes))


def score_rows(merged: Merged) -> tuple[list[str], list[list[str | float | int | None]]]:
    """Head and rows of ``scores.csv``: unrounded scores and changes to the base head, one row per triple."""
    names = [m.name for m in merged.metrics]
    head = ["backbone", "cam", "head", "same_records_as", "control", "images", *names, *(f"{n}_change" for n in names)]
    rows: list[list[str | float | int | None]] = []
    for triple in merged.triples:
        backbone, cam, head_name = split_triple(triple)
        own, base = merged.scores[triple], merged.scores.get(base_triple(triple), {})
        has_base = base_triple(triple) != triple
        rows.append(
            [
                *(backbone, cam, head_name, merged.alias_of(triple), int(is_control(merged.manifest(triple), cam))),
                merged.images,
                *(own.get(n) for n in names),
                *(own[n] - base[n] if has_base and n in own and n in base else None for n in names),
            ]
        )
    return head, rows


def base_triple(triple: str) -> str:
    """The same backbone and method under the base head."""
    backbone, cam, _ = split_triple(triple)
    return f"{backbone}/{cam}/{BASE_HEAD}"


def is_control(manifest: RunManifest, cam: str) -> bool:
    """True for a control (random, center, uniform)."""
    return cam in manifest.cams and manifest.cams[cam].control


def cam_title(manifest: RunManifest, cam: str) -> str:
    """Name of a method in tables."""
    return (manifest.cams[cam].title if cam in manifest.cams else "") or cam


def head_title(manifest: RunManifest, head: str) -> str:
    """Name of a head in tables."""
    return (manifest.heads[head].title if head in manifest.heads else "") or head


def backbone_title(manifest: RunManifest, backbone: str) -> str:
    """Name of a backbone in tables."""
    return (manifest.backbones[backbone].title if backbone in manifest.backbones else "") or backbone


def _grid(merged: Merged, footnotes: Footnotes, backbone: str, cams: dict[str, list[str]]) -> Grid:
    metrics = [m for m in merged.metrics if any(m.name in merged.scores[t] for ts in cams.values() for t in ts)]
    members = [t for triples in cams.values() for t in triples]
    best = {m.name: _best(merged, m, members) for m in metrics}
    rows: list[tuple[Cell, ...]] = []
    rules: set[int] = set()
    for triples in cams.values():
        rules.add(len(rows))
        ordered = sorted(triples, key=lambda t: t != base_triple(t))
        for position, triple in enumerate(ordered):
            label = Cell(_label(merged, triple, position == 0) + footnotes.mark(merged, triple))
            cells = [_cell(merged, m, triple, best[m.name], repeat=position > 0) for m in metrics]
            rows.append((label, *cells))
    head = ("Method", *(f"{m.title} {m.arrow}" + (f" ({m.unit})" if m.unit not in ("", "%") else "") for m in metrics))
    manifest = merged.manifest(members[0])
    return Grid(backbone_title(manifest, backbone), head, rows, code=backbone, rules=frozenset(rules))


def _label(merged: Merged, triple: str, first: bool) -> str:
    manifest = merged.manifest(triple)
    _, cam, head = split_triple(triple)
    name = cam_title(manifest, cam) + (f" {CONTROL_MARK}" if is_control(manifest, cam) else "")
    if head == BASE_HEAD:
        return name
    # A "+" row adds to the base row above it; without one the row has to name its method.
    if base_triple(triple) in merged.scores and not first:
        return f"+ {head_title(manifest, head)}"
    return f"{name}, {head_title(manifest, head)}"


def _cell(merged: Merged, metric: Metric, triple: str, best: str | None, *, repeat: bool) -> Cell:
    value = merged.scores[triple].get(metric.name)
    if value is None or (metric.per_backbone and repeat):
        return Cell("–")
    text = f"{value:.{metric.digits}f}"
    base = merged.scores.get(base_triple(triple), {}).get(metric.name)
    bold = metric.ranked and not metric.per_backbone and text == best
    if base is None or base_triple(triple) == triple:
        return Cell(text, bold=bold)
    delta = f"{value - base:+.{metric.digits}f}"
    if float(delta) == 0:
        return Cell(text, bold=bold, delta=delta.replace("-", "+"))
    tone: Tone = "good" if (value > base) == metric.higher_is_better else "bad"
    return Cell(text, bold=bold, delta=delta, tone=tone if metric.ranked else "")


def _best(merged: Merged, metric: Metric, triples: Sequence[str]) -> str | None:
    values = [merged.scores[t][metric.name] for t in triples if metric.name in merged.scores[t]]
    if not values:
        return None
    # Compared as printed, so that two equal cells are both bold.
    return f"{max(values) if metric.higher_is_better else min(values):.{metric.digits}f}"


def _facts(merged: Merged) -> list[tuple[str, str]]:
    manifest = merged.runs[0].manifest
    data, protocol = manifest.dataset, manifest.protocol
    versions = ", ".join(dict.fromkeys(r.manifest.code_version for r in merged.runs))
    left_out = data.rows - merged.images
    counted = f"{merged.images} of {data.rows}" + (
        f" ({left_out} left out of every row, see below)" if left_out else ""
    )
    facts = [
        ("Data set", f"{data.title or data.name}, split {data.split}, {data.num_classes} classes"),
        ("Images", counted),
        ("Data fingerprint", data.fingerprint),
        ("Protocol", f"{protocol.name} (version {protocol.version}, digest {protocol.digest})"),
        ("Records", f"cambench {versions}"),
    ]
    options = list(dict.fromkeys(_options(r.manifest) for r in merged.runs))
    return facts + [("Options", text) for text in options if text]


def _options(manifest: RunManifest) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(manifest.options.items()))


def _notes(merged: Merged, footnotes: Footnotes) -> list[str]:
    notes = [
        "Best of a backbone in bold; in parentheses the change to the same method with the softmax head, in points.",
    ]
    plain = [m.title for m in merged.metrics if m.unit != "%"]
    notes.append("Scores in %" + (f", except {', '.join(plain)}." if plain else "."))
    if any(is_control(merged.manifest(t), split_triple(t)[1]) for t in merged.triples):
        notes.append(f"{CONTROL_MARK} a control: its map does not look at the image's class evidence.")
    notes += [f"({letter}) computed once: {text}." for text, letter in footnotes.letters.items()]
    failures = {f.index: f for r in merged.runs for f in r.failures}
    notes += _some("image left out", [f"{f.image_id} (row {i}): {f.reason}" for i, f in sorted(failures.items())])
    for run in merged.runs:
        notes += _some("problem", [line.replace(f"{run.out}/", "") for line in run.problems])
        notes += _some("no records", run.pending)
        # Many triples are skipped for one reason; say each reason once.
        reasons: dict[str, list[str]] = {}
        for triple, why in run.manifest.skipped.items():
            reasons.setdefault(why, []).append(triple)
        notes += _some("not run", [f"{', '.join(triples)}: {why}" for why, triples in reasons.items()])
        notes += [f"data: {note}" for note in run.manifest.dataset.notes[:LISTED]]
    return list(dict.fromkeys(notes))


def _some(what: str, lines: Sequence[str]) -> list[str]:
    shown = [f"{what}: {visible(line)}" for line in lines[:LISTED]]
    return shown + ([f"{what}: {len(lines) - LISTED} more, see run.json"] if len(lines) > LISTED else [])


def _identity(manifest: RunManifest, triple: str) -> str:
    return manifest.identities.get(triple) or f"{triple} has the maps of {manifest.canonical(triple)}"


def _letter(number: int) -> str:
    prefix = _letter(number // 26 - 1) if number >= 26 else ""
    return prefix + "abcdefghijklmnopqrstuvwxyz"[number % 26]
