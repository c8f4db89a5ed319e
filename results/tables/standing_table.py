"""Tables of intervals and of ranks, beside the score tables."""

from __future__ import annotations

from collections.abc import Callable

from ..scores.merge import Merged
from ..scores.shown import Metric
from ..statistics.intervals import few_images
from ..statistics.standing import Standing
from .grid import Cell, Document, Grid
from .score_table import Footnotes, backbone_grid, backbone_groups, metric_heads, name_cells

CellOf = Callable[[Metric, str], Cell]


def interval_document(merged: Merged, stats: Standing) -> Document:
    """Intervals of every score, then ranks, a table per backbone each."""
    footnotes = Footnotes.of(merged)
    grids: list[Grid] = []
    for backbone, cams in backbone_groups(merged).items():
        members = [t for triples in cams.values() for t in triples]
        present = [m for m in merged.metrics if m.ranked and any(m.name in merged.scores[t] for t in members)]

        def cell(metric: Metric, triple: str) -> Cell:
            interval = stats.intervals[triple].get(metric.name)
            return Cell("–" if interval is None else interval.text(metric.digits))

        def rank(metric: Metric, triple: str) -> Cell:
            found = stats.ranks.get(triple, {}).get(metric.name)
            return Cell("–" if found is None else str(found), bold=found == 1)

        competing = [m for m in present if not m.per_backbone]
        grids += [
            _table(merged, footnotes, backbone, cams, present, cell, "intervals"),
            _table(merged, footnotes, backbone, cams, competing, rank, "ranks"),
        ]
    return Document("Intervals and ranks", grids, [], [*few_images(merged.images), *_notes(stats)])


def _table(
    merged: Merged,
    footnotes: Footnotes,
    backbone: str,
    cams: dict[str, list[str]],
    metrics: list[Metric],
    cell: CellOf,
    what: str,
) -> Grid:
    rows = [
        (*name_cells(merged, footnotes, triple, triples), *(cell(m, triple) for m in metrics))
        for triples in cams.values()
        for triple in triples
    ]
    grid = backbone_grid(merged, backbone, metric_heads(metrics), rows, cams.values())
    return Grid(f"{grid.title}: {what}", grid.head, grid.rows, grid.code, grid.rules, grid.names)


def _notes(stats: Standing) -> list[str]:
    return [
        f"Intervals: {stats.level:.0%}, image bootstrap, {stats.resamples} resamples, seed {stats.seed}; a threshold "
        "that a metric chooses is chosen anew in each resample.",
        "Rank: 1 + the number of rows of the backbone that are significantly better, in paired tests with Holm's "
        f"correction over the pairs of a metric (level {stats.alpha:g}); rows that share a rank are tied.",
        "Intervals of two rows may overlap where their difference is significant: the tests are paired.",
    ]
