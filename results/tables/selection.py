"""What a score table shows: its layout, and which metrics and rows of a backbone it has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

from ...registry import UnknownNameError
from ...triple import Triple
from ..records.described import DatasetRecord
from ..records.record_errors import ResultsError
from ..scores.merge import Merged
from ..scores.shown import METRICS, Metric
from .extra_columns import EXTRA_COLUMNS, ExtraColumn
from .naming import backbone_groups, base_triple

Layout = Literal["compact", "full", "paper1", "paper2"]
Width = Literal["auto", "column", "text"]
_FIELD = {
    "boxes": ("top1_cls", "top1_loc", "gt_known_loc", "max_box_acc_v2"),
    "masks": ("top1_cls", "pxap"),
    "evidence": ("evidence_precision",),
    "": ("top1_cls", "average_drop", "increase_in_confidence"),
}
"""Metrics that papers report of data with boxes, masks, evidence, and of any data."""
_SPARE = ("pointing_game", "energy_pointing_game")
"""Per-image metrics that every run on boxes has; all others were asked for and stay in a compact table."""


@dataclass(frozen=True)
class TableOptions:
    """How a score table is laid out.

    Attributes:
        layout: ``compact``: the metrics that the field reports of such data, rows of the same records as one, cost and
            degenerate maps only where they matter. ``full``: everything. ``paper1``, ``paper2``: as in the paper.
        columns: Names of metrics (patterns), in this order, and of ``EXTRA_COLUMNS``. Empty: those of the layout.
        methods, heads: Registered names (patterns) of the rows. Empty: all.
        decimals: Of every score; None: the metric's own.
        transpose: Methods side by side, metrics below each other.
        sort: Metric by which a table's rows are ordered, the best first. Empty: as the run was asked.
        long: One row for each triple and metric.
        width: The width of the LaTeX tables: ``column``, ``text`` (both columns), or what each needs.
        standalone: LaTeX files compile as they are.
    """

    layout: Layout = "compact"
    columns: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    decimals: int | None = None
    transpose: bool = False
    sort: str = ""
    long: bool = False
    width: Width = "auto"
    standalone: bool = False

    def __post_init__(self) -> None:
        for what, value, known in (("layout", self.layout, Layout), ("width", self.width, Width)):
            if value not in get_args(known):
                raise UnknownNameError(what, value, get_args(known))
        if self.decimals is not None and not 0 <= self.decimals <= 8:
            raise ResultsError(f"--decimals {self.decimals}: expected 0 to 8")
        if self.transpose and self.long:
            raise ResultsError("--transpose and --long exclude each other: a long table has one column of scores")

    def digits(self, metric: Metric) -> int:
        """Decimals of a metric's scores."""
        return metric.digits if self.decimals is None else self.decimals


@dataclass(frozen=True)
class Row:
    """A row of a table: a triple, and those of the same backbone and records that it stands for as well."""

    triple: Triple
    others: tuple[Triple, ...] = ()


@dataclass(frozen=True)
class Block:
    """The table of one backbone.

    Attributes:
        backbone: Its name. groups: Rows by method, the controls last. metrics: Columns, in order.
        extras: Columns after them.
    """

    backbone: str
    groups: tuple[tuple[Row, ...], ...]
    metrics: tuple[Metric, ...]
    extras: tuple[ExtraColumn, ...]

    def shows(self, *names: str) -> bool:
        """Whether it has one of these extra columns."""
        return any(column.name in names for column in self.extras)

    @property
    def rows(self) -> list[Row]:
        """All rows."""
        return [row for group in self.groups for row in group]


def field_metrics(data: DatasetRecord) -> list[str]:
    """Names of the metrics that papers report of a data set of this kind, in table order."""
    kinds = (("boxes", data.has_boxes), ("masks", data.has_masks), ("evidence", data.has_evidence), ("", True))
    return list(dict.fromkeys(name for kind, has in kinds if has for name in _FIELD[kind]))


def matching(what: str, patterns: Sequence[str], known: Iterable[str]) -> list[str]:
    """Names that fit the patterns, in the patterns' order; all where there is no pattern.

    Raises:
        UnknownNameError: A pattern fits nothing.
    """
    names = list(dict.fromkeys(known))
    if not patterns:
        return names
    found: list[str] = []
    for pattern in patterns:
        fits = [name for name in names if fnmatchcase(name, pattern)]
        if not fits:
            raise UnknownNameError(what, pattern, names)
        found += fits
    return list(dict.fromkeys(found))


def blocks(merged: Merged, options: TableOptions, *, measured: bool = False) -> list[Block]:
    """The tables of merged runs, a backbone each; backbones of which no row is left are left out.

    Args:
        merged: The runs. options: Layout and selection. measured: Measured costs may be shown.

    Raises:
        UnknownNameError: A metric, method or head that the records do not have.
    """
    parts = [t.names for t in merged.triples]
    wanted = set(matching("method", options.methods, (p[1] for p in parts)))
    heads = set(matching("head", options.heads, (p[2] for p in parts)))
    columns = matching("column", options.columns, [*(m.name for m in merged.metrics), *(c.name for c in EXTRA_COLUMNS)])
    if options.sort:
        matching("metric", [options.sort], [m.name for m in merged.metrics if m.ranked])
    found = []
    for backbone, cams in backbone_groups(merged).items():
        groups = [[t for t in ts if t.head in heads] for cam, ts in cams.items() if cam in wanted]
        rows = _folded(merged, groups) if options.layout == "compact" else [[Row(t) for t in g] for g in groups]
        rows = [group for group in rows if group]
        if options.sort:
            rows = _sorted(merged, rows, next(m for m in merged.metrics if m.name == options.sort))
        if rows:
            found.append(_block(merged, options, backbone, rows, columns, measured))
    return found


def _block(
    merged: Merged, options: TableOptions, backbone: str, rows: list[list[Row]], columns: list[str], measured: bool
) -> Block:
    members = [row.triple for group in rows for row in group]
    present = {m.name: m for m in merged.metrics if any(m.name in merged.scores[t] for t in members)}
    names, extras = columns, [column for column in EXTRA_COLUMNS if column.name in columns]
    if not options.columns and options.layout == "compact":
        reported = field_metrics(merged.runs[0].manifest.dataset)
        usual = {*(m.name for m in METRICS), *_SPARE}
        names = [n for n in present if n in reported or n not in usual]
        names += ["degenerate"] if _occurs(merged, "degenerate", members) else []
        names = names or list(present)
        extras = [column for column in extras if column.matters(merged, members)]
    metrics = tuple(present[n] for n in names if n in present)
    extras = [column for column in extras if (measured or not column.times) and column.known(merged, members)]
    return Block(backbone, tuple(map(tuple, rows)), metrics, tuple(extras))


def _occurs(merged: Merged, name: str, triples: Iterable[str]) -> bool:
    return any(merged.scores[t].get(name, 0) for t in triples)


def _folded(merged: Merged, groups: list[list[Triple]]) -> list[list[Row]]:
    """Rows of the same records as one, the first of them; methods of which no row of their own is left disappear."""
    kept: dict[tuple[str, str], list[Triple]] = {}
    for group in groups:
        for triple in group:
            key = str(merged.run(triple).out), merged.manifest(triple).canonical(triple)
            kept.setdefault(key, []).append(triple)
    rows = {same[0]: Row(same[0], tuple(same[1:])) for same in kept.values()}
    return [[rows[t] for t in group if t in rows] for group in groups]


def _sorted(merged: Merged, groups: list[list[Row]], metric: Metric) -> list[list[Row]]:
    """One row a group, the best first; controls stay last."""
    sign = -1 if metric.higher_is_better else 1

    def key(row: Row) -> tuple[bool, float]:
        control = merged.manifest(row.triple).is_control(row.triple.cam)
        value = merged.scores[row.triple].get(metric.name)
        return control, float("inf") if value is None else sign * value

    return [[row] for row in sorted((row for group in groups for row in group), key=key)]


def has_base(merged: Merged, triple: str) -> bool:
    """The triple is a row of another head whose base row has scores."""
    return base_triple(triple) != triple and base_triple(triple) in merged.scores
