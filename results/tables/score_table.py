"""The score tables: per backbone, a base row per method and the rows of its other heads with their change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ...triple import Triple
from ..scores.merge import Merged
from ..scores.shown import Metric
from ..statistics.standing import Standing
from .grid import Cell, Document, Grid, Tone
from .naming import CONTROL_MARK, backbone_title, base_triple, cam_cost, cam_title, head_title
from .notes import SIGNIFICANT, UNBEATEN_MARK, Footnotes, caption, facts, remarks, score_notes
from .selection import Block, Row, TableOptions, blocks, has_base

CellOf = Callable[[Metric, str], Cell]
DEFAULT = TableOptions()


def score_document(
    merged: Merged, stats: Standing | None = None, *, measured: bool = False, options: TableOptions = DEFAULT
) -> Document:
    """The score tables of merged runs, without a date or a path: the same records give the same bytes.

    Args:
        merged: The runs. stats: Which changes are significant; without it none is marked.
        measured: Add what each map was measured to cost, in forwards. Timings differ from run to run.
        options: Layout, rows and columns.

    Raises:
        UnknownNameError: ``options`` names a metric, method or head that the records do not have.
    """
    tables = blocks(merged, options, measured=measured)
    footnotes = Footnotes.of(merged, tables)
    grids = [_grid(_Table(merged, footnotes, stats, block, options)) for block in tables]
    notes = score_notes(merged, tables, footnotes, stats, options)
    return Document("Scores", grids, facts(merged, stats), notes, remarks=remarks(merged), caption=caption(merged))


@dataclass(frozen=True)
class _Table:
    """What the cells of one table depend on."""

    merged: Merged
    footnotes: Footnotes
    stats: Standing | None
    block: Block
    options: TableOptions

    def text(self, metric: Metric, triple: Triple) -> str:
        value = self.merged.scores[triple].get(metric.name)
        return "–" if value is None else f"{value:.{self.options.digits(metric)}f}"

    def best(self, metric: Metric) -> list[str]:
        """Texts of the best and the second-best score of the block's methods, controls aside."""
        manifest = self.merged.manifest
        own = {
            self.merged.scores[r.triple][metric.name]
            for r in self.block.rows
            if metric.name in self.merged.scores[r.triple] and not manifest(r.triple).is_control(r.triple.cam)
        }
        # Compared as printed, so that two equal cells are both the best.
        texts = (f"{v:.{self.options.digits(metric)}f}" for v in sorted(own, reverse=metric.higher_is_better))
        return list(dict.fromkeys(texts))[:2]

    def cell(self, metric: Metric, triple: Triple, best: Sequence[str]) -> Cell:
        text, digits = self.text(metric, triple), self.options.digits(metric)
        wins = metric.ranked and not self.merged.manifest(triple).is_control(triple.cam)
        bold, second = wins and text in best[:1], wins and text in best[1:]
        value = self.merged.scores[triple].get(metric.name)
        base = self.merged.scores.get(base_triple(triple), {}).get(metric.name)
        if value is None or base is None or not has_base(self.merged, triple) or not metric.ranked:
            return Cell(text, bold=bold, second=second)
        delta = f"{value - base:+.{digits}f}"
        if float(delta) == 0:
            delta = delta.replace("-", "+")
        significant = self.stats is not None and self.stats.significant(triple, metric.name)
        if (self.stats is not None and not significant) or float(delta) == 0:
            return Cell(text, bold=bold, second=second, delta=delta)
        tone: Tone = "good" if (value > base) == metric.higher_is_better else "bad"
        return Cell(text, bold=bold, second=second, delta=f"{delta}{SIGNIFICANT if significant else ''}", tone=tone)


def _grid(table: _Table) -> Grid:
    if table.options.long:
        return _long_grid(table)
    if table.options.transpose:
        return _transposed(table)
    merged, block = table.merged, table.block
    best = {m.name: table.best(m) for m in block.metrics}
    rows: list[tuple[Cell, ...]] = []
    for group in block.groups:
        for row in group:
            cells = [
                _spanning(table.text(m, row.triple), row, group)
                if m.per_backbone
                else table.cell(m, row.triple, best[m.name])
                for m in block.metrics
            ]
            rows.append(
                (*name_cells(merged, table.footnotes, row, group), *cells, *_extra_cells(merged, block, row, group))
            )
    heads = [*metric_heads(block.metrics, table.stats, block.backbone), *(column.head for column in block.extras)]
    return backbone_grid(merged, block, heads, rows)


def _extra_cells(merged: Merged, block: Block, row: Row, group: Sequence[Row]) -> list[Cell]:
    texts = [(column, column.text(merged, row.triple)) for column in block.extras]
    return [_spanning(text, row, group) if column.of_method else Cell(text) for column, text in texts]


def _long_grid(table: _Table) -> Grid:
    """One row for each triple and metric: score, interval, change to the base head."""
    rows: list[tuple[Cell, ...]] = []
    starts = set[int]()
    for row in table.block.rows:
        starts.add(len(rows))
        names = name_cells(table.merged, table.footnotes, row, [row])
        for metric in table.block.metrics:
            cell = table.cell(metric, row.triple, table.best(metric))
            found = table.stats.intervals[row.triple].get(metric.name) if table.stats else None
            interval = "–" if found is None else found.text(table.options.digits(metric))
            change = Cell(cell.delta or "–", tone=cell.tone)
            head = metric_heads([metric], table.stats, table.block.backbone)[0]
            score = Cell(cell.text, bold=cell.bold, second=cell.second)
            rows.append((*names, Cell(head), score, Cell(interval), change))
    grid = backbone_grid(table.merged, table.block, ("Metric", "Score", "Interval", "Change"), rows)
    return Grid(grid.title, grid.head, rows, grid.code, frozenset(starts), names=3)


def _transposed(table: _Table) -> Grid:
    """One row for each metric, one column for each triple; the method stands over the columns of its heads."""
    block, merged = table.block, table.merged
    heads = metric_heads(block.metrics, table.stats, block.backbone)
    rows = []
    for metric, head in zip(block.metrics, heads, strict=True):
        best = table.best(metric)
        rows.append((Cell(head), *(table.cell(metric, row.triple, best) for row in block.rows)))
    names = [name_cells(merged, table.footnotes, row, group) for group in block.groups for row in group]
    over = [("", 1), *((name_cells(merged, table.footnotes, g[0], g)[0].text, len(g)) for g in block.groups)]
    title = backbone_title(merged.manifest(block.rows[0].triple), block.backbone)
    return Grid(title, ("Metric", *(n[1].text for n in names)), rows, code=block.backbone, over=tuple(over))


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
        backbone, cam, head_name = triple.names
        own, base = merged.scores[triple], merged.scores.get(base_triple(triple), {})
        differs = has_base(merged, triple)
        rows.append(
            [
                *(backbone, cam, head_name, merged.alias_of(triple), int(merged.manifest(triple).is_control(cam))),
                *(cam_cost(merged.manifest(triple), backbone, cam), merged.images),
                *(own.get(n) for n in names),
                *(own[n] - base[n] if differs and n in own and n in base else None for n in names),
                *([] if stats is None else _statistics(stats, triple, names, ranked)),
            ]
        )
    return head, rows


def long_rows(merged: Merged, stats: Standing | None = None) -> tuple[list[str], list[list[str | float | int | None]]]:
    """``score_rows`` with one row for each triple and metric."""
    head = ["backbone", "cam", "head", "same_records_as", "control", "images", "metric", "unit", "score", "change"]
    head += ["low", "high", "rank", "change_p_holm", "unbeaten_control"] if stats is not None else []
    rows: list[list[str | float | int | None]] = []
    for triple in merged.triples:
        backbone, cam, head_name = triple.names
        own, base = merged.scores[triple], merged.scores.get(base_triple(triple), {})
        control = int(merged.manifest(triple).is_control(cam))
        for metric in (m for m in merged.metrics if m.name in own):
            name = metric.name
            change = own[name] - base[name] if has_base(merged, triple) and name in base else None
            unit = "percent" if metric.unit == "%" else metric.unit
            row: list[str | float | int | None] = [backbone, cam, head_name, merged.alias_of(triple), control]
            row += [merged.images, name, unit, own[name], change]
            if stats is not None:
                interval, tested = stats.intervals[triple].get(name), stats.changes[triple].get(name)
                unbeaten = stats.unbeaten.get(backbone, {}).get(name)
                row += [None, None] if interval is None else [interval.low, interval.high]
                row += [stats.ranks.get(triple, {}).get(name), None if tested is None else tested.p_holm]
                row.append("" if unbeaten is None else unbeaten.control)
            rows.append(row)
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


def name_cells(merged: Merged, footnotes: Footnotes, row: Row, group: Sequence[Row]) -> tuple[Cell, Cell]:
    """The cells that name a row: its method, which spans the rows of ``group``, and its head."""
    manifest, (_, cam, head) = merged.manifest(row.triple), row.triple.names
    name = cam_title(manifest, cam) + (f" {CONTROL_MARK}" if manifest.is_control(cam) else "")
    label = head_title(manifest, head) + footnotes.mark(merged, row)
    return _spanning(name, row, group), Cell(label)


def metric_heads(metrics: Iterable[Metric], stats: Standing | None = None, backbone: str = "") -> tuple[str, ...]:
    """Column heads: title, direction, unit, and a mark where the metric does not discriminate on a backbone's table."""
    marked = {} if stats is None else stats.unbeaten.get(backbone, {})
    return tuple(
        f"{m.title} {m.arrow}"
        + (f" ({m.unit})" if m.unit not in ("", "%") else "")
        + (f" {UNBEATEN_MARK}" if m.name in marked else "")
        for m in metrics
    )


def backbone_grid(merged: Merged, block: Block, head: Sequence[str], rows: list[tuple[Cell, ...]]) -> Grid:
    """A table of one backbone whose rows come in groups, two columns of which name them."""
    groups = block.groups
    starts = list(accumulate((len(group) for group in groups), initial=0))[: len(groups)]
    controls = [merged.manifest(g[0].triple).is_control(g[0].triple.cam) for g in groups]
    first = next((start for start, control in zip(starts, controls, strict=True) if control), None)
    # Single rows need no rule between them.
    grouped = {s for i, s in enumerate(starts) if any(len(g) > 1 for g in groups[max(i - 1, 0) : i + 1])}
    rules = frozenset(grouped | {0} | ({first} if first is not None else set()))
    title = backbone_title(merged.manifest(block.rows[0].triple), block.backbone)
    heavy = frozenset({first} if first else set())
    return Grid(title, ("Method", "Head", *head), rows, code=block.backbone, rules=rules, names=2, heavy=heavy)


def _spanning(text: str, row: Row, group: Sequence[Row]) -> Cell:
    return Cell(text, span=len(group) if row is group[0] else 0)
