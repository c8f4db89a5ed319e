"""The table of a search's trials, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...atomic import write_text
from ...results.tables.grid import Cell, Document, Grid, to_csv, to_markdown
from .trial import TrialRecord, shown


def search_files(
    plan: Sequence[str], records: Sequence[TrialRecord], best: TrialRecord | None, metric: str, out: Path
) -> list[Path]:
    """Write ``search.md`` and ``search.csv`` into ``out``; returns their paths.

    Args:
        plan: What was searched, in words. records: Of the finished trials, by number.
        best: The chosen one. metric: Name of the score. out: Folder of the search.
    """
    names = list(dict.fromkeys(name for record in records for name in record.parameters))
    head = ("trial", *names, metric, "top1_train", "loss", "state", "why", "seconds")
    rows = [
        (r.number, *(r.parameters[n] for n in names), r.score, r.top1, r.loss, r.state, r.why, r.seconds)
        for r in records
    ]
    paths = [out / "search.md", out / "search.csv"]
    write_text(paths[0], to_markdown(_document(plan, records, best, metric, names)))
    write_text(paths[1], to_csv(head, rows))
    return paths


def _document(
    plan: Sequence[str], records: Sequence[TrialRecord], best: TrialRecord | None, metric: str, names: Sequence[str]
) -> Document:
    # The records are in the order of their numbers, and sorting keeps that order among equals.
    ranked = sorted(records, key=lambda r: float("inf") if r.score is None else -r.score)
    rows = [
        (
            Cell(str(r.number)),
            *(Cell(f"{r.parameters[n]:.4g}") for n in names),
            Cell("failed" if r.score is None else f"{r.score:.2f}", bold=r is best),
            Cell("–" if r.top1 is None else f"{r.top1:.1f}"),
        )
        for r in ranked
    ]
    failed = [f"Trial {r.number} failed: {r.why}" for r in records if r.why]
    lead = [] if best is None else [f"Chosen: trial {best.number}, {shown(best.parameters)}."]
    said = [("Search", plan[0]), *(("", line.strip()) for line in plan[1:])]
    facts = [(name or "Of which", text) for name, text in said]
    grid = Grid("Trials, the best first", ("Trial", *names, metric, "Top-1, training"), rows, names=1)
    return Document("Search", [grid], facts, failed, lead=lead)
