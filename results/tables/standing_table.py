"""Tables of intervals and of ranks, beside the score tables."""

from __future__ import annotations

from ..scores.merge import Merged
from ..scores.shown import Metric
from ..statistics.intervals import few_images
from ..statistics.standing import Standing
from .grid import Cell, Document, Grid
from .notes import Footnotes, caption, unbeaten_notes
from .score_table import CellOf, backbone_grid, metric_heads, name_cells
from .selection import Block, TableOptions, blocks

DEFAULT = TableOptions()


def interval_document(merged: Merged, stats: Standing, options: TableOptions = DEFAULT) -> Document:
    """Intervals of every score, then ranks, a table per backbone each; rows and columns as in the score tables."""
    tables = blocks(merged, options)
    footnotes = Footnotes.of(merged, tables)
    grids: list[Grid] = []
    for block in tables:
        present = [m for m in block.metrics if m.ranked]

        def cell(metric: Metric, triple: str) -> Cell:
            interval = stats.intervals[triple].get(metric.name)
            return Cell("–" if interval is None else interval.text(options.digits(metric)))

        def rank(metric: Metric, triple: str) -> Cell:
            found = stats.ranks.get(triple, {}).get(metric.name)
            return Cell("–" if found is None else str(found), bold=found == 1)

        competing = [m for m in present if not m.per_backbone]
        grids += [
            _table(merged, footnotes, stats, block, present, cell, "intervals"),
            _table(merged, footnotes, stats, block, competing, rank, "ranks"),
        ]
    shown = {m.name: m for block in tables for m in block.metrics}
    notes = [*few_images(merged.images), *_notes(stats)]
    notes += unbeaten_notes(merged, stats, [b.backbone for b in tables], shown)
    return Document("Intervals and ranks", grids, [], notes + footnotes.notes, caption=caption(merged))


def _table(
    merged: Merged,
    footnotes: Footnotes,
    stats: Standing,
    block: Block,
    metrics: list[Metric],
    cell: CellOf,
    what: str,
) -> Grid:
    rows = [
        (*name_cells(merged, footnotes, row, group), *(cell(m, row.triple) for m in metrics))
        for group in block.groups
        for row in group
    ]
    grid = backbone_grid(merged, block, metric_heads(metrics, stats, block.backbone), rows)
    return Grid(f"{grid.title}: {what}", grid.head, grid.rows, grid.code, grid.rules, grid.names, heavy=grid.heavy)


def _notes(stats: Standing) -> list[str]:
    return [
        f"Intervals: {stats.level:.0%}, image bootstrap, {stats.resamples} resamples, seed {stats.seed}; a threshold "
        "that a metric chooses is chosen anew in each resample.",
        "Rank: 1 + the number of rows of the backbone that are significantly better, in paired tests with Holm's "
        f"correction over the pairs of a metric (level {stats.alpha:g}); rows that share a rank are tied.",
        "Intervals of two rows may overlap where their difference is significant: the tests are paired.",
    ]
