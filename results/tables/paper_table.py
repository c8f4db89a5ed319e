"""The paper's two tables from runs: backbone blocks, "+ Ours" rows with coloured changes, data sets side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ...atomic import write_text
from ...triple import Triple
from ..records.described import DatasetRecord
from ..records.load import Run
from ..records.manifest import RunManifest
from ..records.record_errors import ResultsError
from ..scores.merge import Merged, merge_runs
from ..scores.shown import Metric
from ..statistics.intervals import RESAMPLES
from ..statistics.standing import BASE_HEAD, standing
from .grid import Cell, Document, Grid, Tone, to_csv, to_markdown
from .latex import to_latex, to_latex_document
from .naming import backbone_title, cam_title
from .notes import UNBEATEN_MARK, facts, remarks, unbeaten_notes
from .selection import TableOptions, matching

OURS = "sigmoid"
METHODS = {"paper1": ("cam", "gradcam", "gradcam++", "xgradcam", "layercam"), "paper2": ("cam", "gradcam")}
"""Methods of the tables, in the paper's order; ``--methods`` names others."""
LONGEST = 24
"""Characters of a data set's title over its columns; the name stands for a longer one."""
GAP = "_gap"
"""Ending of the name of a network whose classifier is GAP + linear: its block is that of the network without."""
TITLES = {"paper1": "Explanation fidelity", "paper2": "Localisation"}
CAPTIONS = {
    "paper1": "Parentheses: change to the base row; blue where better, red where worse.",
    "paper2": "Δ: change to the base row; blue where better, red where worse.",
}


@dataclass(frozen=True)
class _PaperColumn:
    """A metric on a data set."""

    merged: Merged
    metric: Metric

    @property
    def title(self) -> str:
        data = self.merged.runs[0].manifest.dataset
        short = data.title.partition(":")[0].strip()
        return short if 0 < len(short) <= LONGEST else data.name

    def score(self, backbones: Sequence[str], cam: str, head: str) -> float | None:
        """The score of a method in the first of the networks that has it."""
        for backbone in backbones:
            found = self.merged.scores.get(Triple(backbone, cam, head), {}).get(self.metric.name)
            if found is not None:
                return found
        return None


def paper_document(
    runs: Sequence[Run],
    options: TableOptions,
    vals: Sequence[Run] = (),
    *,
    resamples: int | None = RESAMPLES,
    seed: int = 0,
) -> Document:
    """Table 1 or 2 of the paper (``options.layout``) with the scores of runs; runs of a data set share its columns.

    A block holds a network and its GAP variant: the row CAM is of the variant, where there is one, as in the paper. A
    column in which a control of the runs is not beaten is marked.

    Args:
        runs: The runs. options: Layout and selection. vals: Runs of the val splits.
        resamples: Bootstrap resamples of the tests against the controls; None: no test. seed: Of the draws.

    Raises:
        ResultsError: No run has a method of the table under its base head.
        MergeError: Runs over one data set cannot share a table.
    """
    merged = _by_data(runs, vals)
    columns = [_PaperColumn(m, metric) for m in merged for metric in _metrics(m, options)]
    manifests = [run.manifest for run in runs]
    triples = list(dict.fromkeys(Triple.parse(t) for m in merged for t in m.triples))
    known = [t.cam for t in triples]
    methods = (
        matching("method", options.methods, known)
        if options.methods
        else [m for m in METHODS[options.layout] if m in known]
    )
    families = dict.fromkeys(t.backbone.removesuffix(GAP) for t in triples)
    rows: list[tuple[Cell, ...]] = []
    rules = set[int]()
    for family in families:
        title = next(
            (backbone_title(m, b) for b in (family, family + GAP) for m in manifests if b in m.backbones), family
        )
        block = [row for cam in methods for row in _method_rows(columns, triples, family, cam, manifests, options)]
        if block:
            rules.add(len(rows))
            rows += [(Cell(title, span=len(block) if not i else 0), *row) for i, row in enumerate(block)]
    if not rows:
        raise ResultsError(
            f"layout {options.layout}: the runs have none of {', '.join(METHODS[options.layout])} under the head "
            f"{BASE_HEAD}; name others with --methods, or take --layout compact"
        )
    marked = _unbeaten(merged, columns, resamples, seed)
    heads = tuple(
        f"{c.metric.title} {c.metric.arrow}{f' {UNBEATEN_MARK}' if (id(c.merged), c.metric.name) in marked else ''}"
        for c in columns
    )
    over = [("", 2)]
    for m in merged:
        own = [c for c in columns if c.merged is m]
        if own:
            over.append((own[0].title, len(own)))
    grid = Grid(
        "",
        ("Backbone", "Method", *heads),
        rows,
        rules=frozenset(rules),
        names=2,
        over=tuple(over),
    )
    about = [(f"{name} ({m.runs[0].manifest.dataset.name})", value) for m in merged for name, value in facts(m, None)]
    notes = [CAPTIONS[options.layout], "Scores in %. + Ours: the head sigmoid, clamped, with the same method."]
    notes += dict.fromkeys(note for found in marked.values() for note in found)
    names = ", ".join(m.runs[0].manifest.dataset.name for m in merged)
    caption = f"{names}, protocol {manifests[0].protocol.name}"
    return Document(TITLES[options.layout], [grid], about, notes, [r for m in merged for r in remarks(m)], caption)


def _unbeaten(
    merged: Sequence[Merged], columns: Sequence[_PaperColumn], resamples: int | None, seed: int
) -> dict[tuple[int, str], list[str]]:
    """Data and metric of the columns in which a control is not beaten -> a sentence for each network of which so."""
    found: dict[tuple[int, str], list[str]] = {}
    for one in merged:
        if resamples is None or not any(one.manifest(t).is_control(t.cam) for t in one.triples):
            continue
        stats = standing(one, resamples=resamples, seed=seed)
        backbones = list(dict.fromkeys(t.backbone for t in one.triples))
        for column in (c for c in columns if c.merged is one):
            notes = unbeaten_notes(one, stats, backbones, [column.metric.name])
            where = f"{column.title}: " if len(merged) > 1 else ""
            if notes:
                found[id(one), column.metric.name] = [note.replace(" ", f" {where}", 1) for note in notes]
    return found


def _by_data(runs: Sequence[Run], vals: Sequence[Run]) -> list[Merged]:
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        data = run.manifest.dataset
        groups.setdefault((data.name, data.split, data.fingerprint), []).append(run)
    protocols = {run.manifest.protocol.digest for run in runs}
    if len(protocols) > 1:
        names = ", ".join(dict.fromkeys(run.manifest.protocol.name for run in runs))
        raise ResultsError(f"runs of several protocols cannot share a table: {names}")
    found = []
    for (name, _, _), group in groups.items():
        own = [val for val in vals if val.manifest.dataset.name == name]
        found.append(merge_runs(group, own[:1] if len(own) != len(group) else own))
    return found


def _metrics(merged: Merged, options: TableOptions) -> list[Metric]:
    present = {m.name: m for m in merged.metrics}
    wanted = _reported(merged.runs[0].manifest.dataset, options.layout)
    if options.columns:
        wanted = matching("column", options.columns, present)
    return [present[name] for name in wanted if name in present]


def _reported(data: DatasetRecord, layout: str) -> list[str]:
    if layout == "paper1":
        return ["average_drop", "increase_in_confidence"]
    boxes = ["top1_loc", "gt_known_loc", "max_box_acc_v2"] if data.has_boxes else []
    return ["top1_cls", *boxes, *(["pxap"] if data.has_masks else [])]


def _method_rows(
    columns: Sequence[_PaperColumn],
    triples: Sequence[Triple],
    family: str,
    cam: str,
    manifests: Sequence[RunManifest],
    options: TableOptions,
) -> list[tuple[Cell, ...]]:
    networks = [family + GAP, family] if cam == "cam" else [family, family + GAP]
    # A row is of one network throughout, and of the first that has the method.
    network = next((n for n in networks if Triple(n, cam, BASE_HEAD) in triples), None)
    if network is None:
        return []
    title = next((cam_title(m, cam) for m in manifests if cam in m.cams), cam)
    base = [c.score([network], cam, BASE_HEAD) for c in columns]
    ours = [None if c.metric.per_backbone else c.score([network], cam, OURS) for c in columns]
    rows = [(Cell(title), *(_value(c, v, options) for c, v in zip(columns, base, strict=True)))]
    if all(v is None for v in ours):
        return rows
    changes = [_change(c, a, b, options) for c, a, b in zip(columns, base, ours, strict=True)]
    values = [_value(c, v, options) for c, v in zip(columns, ours, strict=True)]
    if options.layout == "paper1":
        joined = (Cell(v.text, delta=text, tone=tone) for v, (text, tone) in zip(values, changes, strict=True))
        return [*rows, (Cell("+ Ours"), *joined)]
    delta = (Cell(f"({text})" if text else "–", tone=tone) for text, tone in changes)
    return [*rows, (Cell("+ Ours"), *values), (Cell("Δ"), *delta)]


def _value(column: _PaperColumn, value: float | None, options: TableOptions) -> Cell:
    return Cell("–" if value is None else f"{value:.{options.digits(column.metric)}f}")


def _change(column: _PaperColumn, base: float | None, ours: float | None, options: TableOptions) -> tuple[str, Tone]:
    if base is None or ours is None:
        return "", ""
    text = f"{ours - base:+.{options.digits(column.metric)}f}"
    if float(text) == 0:
        return text.replace("-", "+"), ""
    return text, "good" if (ours > base) == column.metric.higher_is_better else "bad"


def write_paper_table(
    runs: Sequence[Run],
    dest: Path,
    options: TableOptions,
    vals: Sequence[Run] = (),
    *,
    resamples: int | None = RESAMPLES,
    seed: int = 0,
) -> list[Path]:
    """Write ``paper1`` or ``paper2`` (md, tex, csv) of one or several runs; returns the files.

    Raises:
        ResultsError, MergeError, UnknownNameError: As ``paper_document``.
    """
    document = paper_document(runs, options, vals, resamples=resamples, seed=seed)
    (grid,) = document.grids
    over = [title for title, count in grid.over for _ in range(count)]
    heads = [name.removesuffix(f" {UNBEATEN_MARK}") for name in grid.head]
    head = [f"{title}: {name}" if title else name for title, name in zip(over, heads, strict=True)]
    tex = to_latex_document([document], options.width) if options.standalone else to_latex(document, options.width)
    # A spreadsheet would take "+ Ours" for a formula.
    rows = [[_plain(cell).removeprefix("+ ") for cell in row] for row in grid.rows]
    texts = {"md": to_markdown(document), "tex": tex, "csv": to_csv(head, rows)}
    for suffix, text in texts.items():
        write_text(dest / f"{options.layout}.{suffix}", text)
    return [dest / f"{options.layout}.{suffix}" for suffix in texts]


def _plain(cell: Cell) -> str:
    return f"{cell.text} ({cell.delta})" if cell.delta else cell.text
