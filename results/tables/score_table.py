"""The score tables: per backbone, a base row per method and the rows of its other heads with their change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ...text import visible
from ...triple import Triple
from ..records.manifest import RunManifest
from ..scores.merge import Merged
from ..scores.shown import Metric
from ..statistics.standing import BASE_HEAD, Standing, base_triple
from .grid import Cell, Document, Grid, Tone

__all__ = ["BASE_HEAD", "base_triple"]

CONTROL_MARK = "†"
SIGNIFICANT = "*"
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


def score_document(merged: Merged, stats: Standing | None = None, *, measured: bool = False) -> Document:
    """The score tables of merged runs, without a date or a path: the same records give the same bytes.

    Args:
        merged: The runs. stats: Which changes are significant; without it none is marked.
        measured: Add what each map was measured to cost, in forwards. Timings differ from run to run.
    """
    footnotes = Footnotes.of(merged)
    groups = backbone_groups(merged)
    grids = [_grid(merged, footnotes, stats, backbone, cams, measured) for backbone, cams in groups.items()]
    return Document("Scores", grids, _facts(merged, stats), _notes(merged, footnotes, stats, measured))


def score_rows(merged: Merged, stats: Standing | None = None) -> tuple[list[str], list[list[str | float | int | None]]]:
    """Head and rows of ``scores.csv``: unrounded scores, changes to the base head, statistics; one row per triple."""
    names = [m.name for m in merged.metrics]
    ranked = [m.name for m in merged.metrics if m.ranked and not m.per_backbone]
    head = ["backbone", "cam", "head", "same_records_as", "control", "cost", "images", *names]
    head += [f"{n}_change" for n in names]
    if stats is not None:
        head += [f"{n}_{end}" for n in names for end in ("low", "high")] + [f"{n}_rank" for n in ranked]
        head += [f"{n}_change_{what}" for n in ranked for what in ("low", "high", "p_holm")]
    rows: list[list[str | float | int | None]] = []
    for triple in merged.triples:
        backbone, cam, head_name = Triple.parse(triple).names
        own, base = merged.scores[triple], merged.scores.get(base_triple(triple), {})
        has_base = base_triple(triple) != triple
        rows.append(
            [
                *(backbone, cam, head_name, merged.alias_of(triple), int(is_control(merged.manifest(triple), cam))),
                *(cam_cost(merged.manifest(triple), cam), merged.images),
                *(own.get(n) for n in names),
                *(own[n] - base[n] if has_base and n in own and n in base else None for n in names),
                *([] if stats is None else _statistics(stats, triple, names, ranked)),
            ]
        )
    return head, rows


def _statistics(
    stats: Standing, triple: str, names: Sequence[str], ranked: Sequence[str]
) -> Iterator[str | float | int | None]:
    for name in names:
        interval = stats.intervals[triple].get(name)
        yield from (None, None) if interval is None else (interval.low, interval.high)
    for name in ranked:
        yield stats.ranks.get(triple, {}).get(name)
    for name in ranked:
        change = stats.changes[triple].get(name)
        yield from (None,) * 3 if change is None else (change.interval.low, change.interval.high, change.p_holm)


def backbone_groups(merged: Merged) -> dict[str, dict[str, list[str]]]:
    """Backbone -> CAM method -> triples, the base head first; in table order."""
    groups: dict[str, dict[str, list[str]]] = {}
    for triple in merged.triples:
        backbone, cam, _ = Triple.parse(triple).names
        groups.setdefault(backbone, {}).setdefault(cam, []).append(triple)
    for cams in groups.values():
        for triples in cams.values():
            triples.sort(key=lambda t: t != base_triple(t))
    return groups


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


def cam_cost(manifest: RunManifest, cam: str) -> str:
    """The declared cost of a method's map, without its remark; empty where the records do not say."""
    return manifest.cams[cam].cost.partition(";")[0].strip() if cam in manifest.cams else ""


def name_cells(merged: Merged, footnotes: Footnotes, triple: str, group: Sequence[str]) -> tuple[Cell, Cell]:
    """The cells that name a row: its method, which spans the rows of ``group``, and its head."""
    manifest, (_, cam, head) = merged.manifest(triple), Triple.parse(triple).names
    name = cam_title(manifest, cam) + (f" {CONTROL_MARK}" if is_control(manifest, cam) else "")
    label = head_title(manifest, head) + footnotes.mark(merged, triple)
    return _spanning(name, triple, group), Cell(label)


def metric_heads(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """Column heads: title, direction, unit."""
    return tuple(f"{m.title} {m.arrow}" + (f" ({m.unit})" if m.unit not in ("", "%") else "") for m in metrics)


def backbone_grid(
    merged: Merged, backbone: str, head: Sequence[str], rows: list[tuple[Cell, ...]], groups: Iterable[Sequence[str]]
) -> Grid:
    """A table of one backbone whose rows come in groups, two columns of which name them."""
    starts = accumulate((len(group) for group in groups), initial=0)
    rules = frozenset(start for start in starts if start < len(rows))
    triple = next(t for t in merged.triples if Triple.parse(t).backbone == backbone)
    title = backbone_title(merged.manifest(triple), backbone)
    return Grid(title, ("Method", "Head", *head), rows, code=backbone, rules=rules, names=2)


def _grid(
    merged: Merged,
    footnotes: Footnotes,
    stats: Standing | None,
    backbone: str,
    cams: dict[str, list[str]],
    measured: bool,
) -> Grid:
    members = [t for triples in cams.values() for t in triples]
    metrics = [m for m in merged.metrics if any(m.name in merged.scores[t] for t in members)]
    best = {m.name: _best(merged, m, members) for m in metrics}
    forwards = {t: _measured(merged, t) for t in members} if measured else {}
    rows: list[tuple[Cell, ...]] = []
    for cam, triples in cams.items():
        for triple in triples:
            cells = [
                _spanning(_number(merged, m, triple), triple, triples)
                if m.per_backbone
                else _cell(merged, stats, m, triple, best[m.name])
                for m in metrics
            ]
            cost = [_spanning(cam_cost(merged.manifest(triple), cam) or "–", triple, triples)]
            if any(forwards.values()):
                cost.append(Cell("–" if forwards[triple] is None else f"{forwards[triple]:.2f}"))
            rows.append((*name_cells(merged, footnotes, triple, triples), *cells, *cost))
    head = (*metric_heads(metrics), "Cost", *(["measured, forwards"] if any(forwards.values()) else []))
    return backbone_grid(merged, backbone, head, rows, cams.values())


def _spanning(text: str, triple: str, group: Sequence[str]) -> Cell:
    return Cell(text, span=len(group) if triple == group[0] else 0)


def _measured(merged: Merged, triple: str) -> float | None:
    manifest = merged.manifest(triple)
    timing = manifest.timings.triples.get(manifest.canonical(triple))
    return None if timing is None else timing.map_forwards


def _number(merged: Merged, metric: Metric, triple: str) -> str:
    value = merged.scores[triple].get(metric.name)
    return "–" if value is None else f"{value:.{metric.digits}f}"


def _cell(merged: Merged, stats: Standing | None, metric: Metric, triple: str, best: str | None) -> Cell:
    text = _number(merged, metric, triple)
    value = merged.scores[triple].get(metric.name)
    base = merged.scores.get(base_triple(triple), {}).get(metric.name)
    bold = metric.ranked and text == best
    if value is None or base is None or base_triple(triple) == triple or not metric.ranked:
        return Cell(text, bold=bold)
    delta = f"{value - base:+.{metric.digits}f}"
    if float(delta) == 0:
        delta = delta.replace("-", "+")
    significant = stats is not None and stats.significant(triple, metric.name)
    if (stats is not None and not significant) or float(delta) == 0:
        return Cell(text, bold=bold, delta=delta)
    tone: Tone = "good" if (value > base) == metric.higher_is_better else "bad"
    return Cell(text, bold=bold, delta=f"{delta}{SIGNIFICANT if significant else ''}", tone=tone)


def _best(merged: Merged, metric: Metric, triples: Sequence[str]) -> str | None:
    values = [merged.scores[t][metric.name] for t in triples if metric.name in merged.scores[t]]
    if not values:
        return None
    # Compared as printed, so that two equal cells are both bold.
    return f"{max(values) if metric.higher_is_better else min(values):.{metric.digits}f}"


def _facts(merged: Merged, stats: Standing | None) -> list[tuple[str, str]]:
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
    facts = [
        ("Data set", f"{data.title or data.name}, split {data.split}, {data.num_classes} classes"),
        ("Images", counted),
        ("Data fingerprint", data.fingerprint),
        ("Protocol", f"{protocol.name} (version {protocol.version}, digest {protocol.digest})"),
        ("Records", f"cambench {versions}"),
    ]
    options = list(dict.fromkeys(_options(r.manifest) for r in merged.runs))
    facts += [("Options", text) for text in options if text]
    if stats is not None:
        drawn = f"image bootstrap, {stats.resamples} resamples, seed {stats.seed}"
        facts.append(("Statistics", f"{stats.level:.0%} intervals, {drawn}; significance level {stats.alpha:g}"))
    return facts


def _options(manifest: RunManifest) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted(manifest.options.items()))


def _notes(merged: Merged, footnotes: Footnotes, stats: Standing | None, measured: bool) -> list[str]:
    notes = [
        "Best of a backbone in bold; in parentheses the change to the same method with the softmax head, in points.",
    ]
    if stats is not None and any(stats.tests.values()):
        counts = ", ".join(f"{count} ({name})" for name, count in stats.tests.items() if count)
        notes.append(
            f"{SIGNIFICANT} and colour: a change that is significant after Holm's correction over the changes of its "
            f"backbone: {counts}. McNemar's test for GT-known and Top-1 Loc, a paired bootstrap otherwise. Rows of the "
            "same records are tested once."
        )
    plain = [m.title for m in merged.metrics if m.unit != "%"]
    notes.append("Scores in %" + (f", except {', '.join(plain)}." if plain else "."))
    notes.append(
        "Cost: declared, of one map alone; N, P, Q: channels, rows and columns of the target feature map. Rows of one "
        "run share the forward and the head's backward." + (" Measured: without any score." if measured else "")
    )
    if any(is_control(merged.manifest(t), Triple.parse(t).cam) for t in merged.triples):
        notes.append(f"{CONTROL_MARK} a control: its map does not look at the image's class evidence.")
    notes += [f"({letter}) computed once: {text}." for text, letter in footnotes.letters.items()]
    failures = {f.index: f for r in merged.runs for f in r.failures}
    notes += _some("image left out", [f"{f.image_id} (row {i}): {f.reason}" for i, f in sorted(failures.items())])
    for run in merged.runs:
        notes += _some("problem", [line.replace(f"{run.out}/", "") for line in run.problems])
        notes += [visible(note) for note in run.notes]
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
    return manifest.identities.get(Triple.parse(triple)) or f"{triple} has the maps of {manifest.canonical(triple)}"


def _letter(number: int) -> str:
    prefix = _letter(number // 26 - 1) if number >= 26 else ""
    return prefix + "abcdefghijklmnopqrstuvwxyz"[number % 26]
