"""The table of threshold transfer: what a location threshold fixed in advance, or chosen on val, costs."""

from __future__ import annotations

from collections.abc import Sequence

from ..scores.merge import Merged
from ..statistics.bootstrap import Entry
from ..statistics.intervals import LEVEL, RESAMPLES
from ..statistics.transfer import Choice, Transfer, threshold_transfer
from .grid import Cell, Document, Grid

TRANSFER_HEAD = ("entry", "metric", "choice", "tau", "score", "gap", "gap_low", "gap_high")
TRANSFER_NOTE = (
    "Threshold transfer: τ fixed by the protocol, τ best for GT-known Loc on val, and the oracle's, best on the "
    "evaluated images themselves: an upper bound, no result. Gap: what the oracle gains, in points."
)
CsvRow = list[str | float | int | None]


def transfer_grids(transfers: Sequence[Transfer]) -> list[Grid]:
    """A table a metric: a row an entry, scores at τ, gaps to the oracle with intervals."""
    head = ("Entry", "fixed τ", "val τ", "oracle τ", "gap of fixed", "gap of val")
    tables: dict[str, list[tuple[Cell, ...]]] = {}
    for t in transfers:
        scores = [_score_cell(c) for c in (t.fixed, t.val, t.oracle)]
        gaps = [_gap_cell(c) for c in (t.fixed, t.val)]
        tables.setdefault(f"{t.metric.title} {t.metric.arrow}", []).append((Cell(t.entry), *scores, *gaps))
    return [Grid(f"Threshold transfer: {title}", head, rows) for title, rows in tables.items()]


def transfer_document(merged: Merged, *, resamples: int = RESAMPLES, seed: int = 0) -> tuple[Document, list[CsvRow]]:
    """Tables, and rows of ``TRANSFER_HEAD``, of the triples of a leaderboard that have boxes and a val run."""
    entries = [Entry(t, merged.run(t), t, merged.val(t)) for t in merged.triples if "gt_known_loc" in merged.scores[t]]
    found = threshold_transfer([e for e in entries if e.val is not None], resamples=resamples, seed=seed)
    note = f"Intervals: {LEVEL:.0%}, image bootstrap, {resamples} resamples, seed {seed}."
    return Document("Threshold transfer", transfer_grids(found), [], [TRANSFER_NOTE, note]), transfer_rows(found)


def transfer_rows(transfers: Sequence[Transfer]) -> list[CsvRow]:
    """Rows of ``TRANSFER_HEAD``: entry, metric and choice of τ, unrounded."""
    rows: list[CsvRow] = []
    for t in transfers:
        for name, choice in (("fixed", t.fixed), ("val", t.val), ("oracle", t.oracle)):
            if choice is None:
                continue
            ends = choice.gap_interval
            low_high = (None, None) if ends is None else (ends.low, ends.high)
            rows.append([t.entry, t.metric.name, name, choice.tau, choice.score, choice.gap, *low_high])
    return rows


def _score_cell(choice: Choice | None) -> Cell:
    return Cell("–") if choice is None else Cell(f"{choice.score:.2f} (τ {choice.tau:.3f})")


def _gap_cell(choice: Choice | None) -> Cell:
    if choice is None or choice.gap_interval is None:
        return Cell("–")
    return Cell(f"{choice.gap:.2f} {choice.gap_interval.text()}")
