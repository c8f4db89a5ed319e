"""Threshold transfer: what a location threshold fixed in advance, or chosen on val, costs against the best one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .bootstrap import Entry
from .errors import RecordError
from .grid import Cell, Document, Grid
from .intervals import LEVEL, RESAMPLES, Interval, bootstrap_interval
from .merge import Merged
from .per_image import LOC, TOP1, Floats, PerImage, located_at, read_per_image
from .resample import BLOCK, Plan
from .scores import METRICS, Metric
from .val_run import val_mismatch

LOC_METRICS = {"gt_known_loc": LOC, "top1_loc": TOP1}
TRANSFER_HEAD = ("entry", "metric", "choice", "tau", "score", "gap", "gap_low", "gap_high")
TRANSFER_NOTE = (
    "Threshold transfer: τ fixed by the protocol, τ best for GT-known Loc on val, and the oracle's, best on the "
    "evaluated images themselves: an upper bound, no result. Gap: what the oracle gains, in points."
)
CsvRow = list[str | float | int | None]


@dataclass(frozen=True)
class Choice:
    """A threshold τ, the score at it in percent, and what it loses against the oracle's in points (at least 0)."""

    tau: float
    score: float
    gap: float = 0.0
    gap_interval: Interval | None = None


@dataclass(frozen=True)
class Transfer:
    """A Loc score of one entry under three ways to choose τ.

    Attributes:
        entry: Name. metric: GT-known Loc or Top-1 Loc.
        fixed: τ is the protocol's ``loc_tau``. val: τ is the best for GT-known Loc on the val split; None without one.
        oracle: τ is the best for GT-known Loc on the evaluated images themselves: an upper bound, not a result.
    """

    entry: str
    metric: Metric
    fixed: Choice
    val: Choice | None
    oracle: Choice


def threshold_transfer(
    entries: Sequence[Entry], *, resamples: int = RESAMPLES, seed: int = 0, level: float = LEVEL
) -> list[Transfer]:
    """Fixed, val-chosen and oracle τ side by side, with the gap to the oracle and its interval.

    In a resample the fixed and the val-chosen τ stay, the oracle's is chosen anew.

    Args:
        entries: Triples with box records; ``Entry.val`` gives their val split. resamples, seed: Of the images.
        level: Of the intervals.

    Raises:
        RecordError: Records have no boxes, or the val run does not fit the entry's (``val_mismatch``).
    """
    return [transfer for entry in entries for transfer in _transfer(entry, resamples, seed, level)]


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


def _transfer(entry: Entry, resamples: int, seed: int, level: float) -> Iterator[Transfer]:
    record = read_per_image(entry.run, entry.triple, entry.val, loc_curves=True)
    if record.curves is None:
        raise RecordError(f"{entry.run.out}: {entry.triple} has no box records, so no location threshold to transfer")
    taus = {"fixed": record.protocol.loc_tau}
    if entry.val is not None:
        taus["val"] = _val_tau(entry)
    correct, boxed = record.column("correct") > 0, record.column("boxed") > 0
    hits = {name: located_at(entry.run, entry.triple, tau) for name, tau in taus.items()}
    # Rows: located at the fixed and the val threshold, the same with the class right, images with boxes.
    chosen = np.stack([*hits.values(), *(h & correct for h in hits.values()), boxed]).astype(np.float64)
    ones = np.ones((record.images, 1), np.uint8)
    points = {m: {k: float(v[0]) for k, v in found.items()} for m, found in _scores(record, taus, chosen, ones).items()}
    samples = _resampled(record, taus, chosen, Plan(record.images, resamples, seed))
    row = record.curves.names.index(LOC)
    oracle_tau = float(record.curves.taus[int(record.curves.count(ones)[row, :, 0].argmax())])
    for metric in (m for m in METRICS if m.name in LOC_METRICS):
        point, drawn = points[metric.name], samples[metric.name]
        choices = {
            name: Choice(
                tau,
                point[name],
                point["oracle"] - point[name],
                bootstrap_interval(drawn["oracle"] - drawn[name], point["oracle"] - point[name], level),
            )
            for name, tau in taus.items()
        }
        oracle = Choice(oracle_tau, point["oracle"])
        yield Transfer(entry.name, metric, choices["fixed"], choices.get("val"), oracle)


def _val_tau(entry: Entry) -> float:
    val = entry.val
    assert val is not None
    mismatch = val_mismatch(entry.run, val, [entry.triple])
    if mismatch:
        raise RecordError(mismatch)
    record = read_per_image(val, entry.triple, val, loc_curves=True)
    if record.curves is None:
        raise RecordError(f"{val.out}: {entry.triple} has no box records")
    counts = record.curves.count(np.ones((record.images, 1), np.uint8))
    return float(record.curves.taus[int(counts[record.curves.names.index(LOC), :, 0].argmax())])


def _resampled(record: PerImage, taus: dict[str, float], chosen: Floats, plan: Plan) -> dict[str, dict[str, Floats]]:
    parts = [_scores(record, taus, chosen, plan.weights(block)) for block in range(-(-plan.count // BLOCK))]
    return {m: {k: np.concatenate([p[m][k] for p in parts]) for k in parts[0][m]} for m in LOC_METRICS}


def _scores(
    record: PerImage, taus: dict[str, float], chosen: Floats, weights: npt.NDArray[np.uint8]
) -> dict[str, dict[str, Floats]]:
    """Metric -> choice of τ -> scores (S,) in percent."""
    assert record.curves is not None
    sums = chosen @ weights.astype(np.float64)
    boxed = np.where(sums[-1] > 0, sums[-1], np.nan)
    best = dict(zip(record.curves.names, record.best_counts(record.curves.count(weights)), strict=True))
    found = {}
    for i, (metric, curve) in enumerate(LOC_METRICS.items()):
        rows = {name: sums[i * len(taus) + k] for k, name in enumerate(taus)}
        found[metric] = {name: 100.0 * row / boxed for name, row in (rows | {"oracle": best[curve]}).items()}
    return found


def _score_cell(choice: Choice | None) -> Cell:
    return Cell("–") if choice is None else Cell(f"{choice.score:.2f} (τ {choice.tau:.3f})")


def _gap_cell(choice: Choice | None) -> Cell:
    if choice is None or choice.gap_interval is None:
        return Cell("–")
    return Cell(f"{choice.gap:.2f} {choice.gap_interval.text()}")
