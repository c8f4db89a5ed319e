"""Threshold transfer: what a location threshold fixed in advance, or chosen on val, costs against the best one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ...metrics.functional.localisation import best_tau
from ..records.record_errors import RecordError
from ..scores.curves import Curves
from ..scores.per_image import LOC, TOP1, Floats, PerImage, located_at, read_per_image
from ..scores.shown import METRICS, Metric
from ..scores.val_run import val_mismatch, val_triple
from .bootstrap import Entry
from .intervals import LEVEL, RESAMPLES, Interval, bootstrap_interval
from .resample import BLOCK, ResamplePlan, usable_cores

LOC_METRICS = {"gt_known_loc": LOC, "top1_loc": TOP1}
Samples = dict[str, dict[str, Floats]]


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
    # Aliases share records: read and resampled once.
    keys = [
        (str(e.run.out), e.run.manifest.canonical(e.triple), "" if e.val is None else str(e.val.out)) for e in entries
    ]
    hits = {key: _hits(entry) for key, entry in dict(zip(keys, entries, strict=True)).items()}
    samples = dict(zip(hits, _resampled(list(hits.values()), resamples, seed), strict=True))
    return [
        transfer
        for key, entry in zip(keys, entries, strict=True)
        for transfer in _transfers(entry, hits[key], samples[key], level)
    ]


@dataclass(frozen=True)
class _Hits:
    """Records of an entry; thresholds by choice; float64 rows (2·choices + 1, n): located at each, the same with the
    class right, images with boxes."""

    record: PerImage
    taus: dict[str, float]
    rows: Floats


def _hits(entry: Entry) -> _Hits:
    record = read_per_image(entry.run, entry.triple, entry.val, loc_curves=True)
    if record.curves is None:
        raise RecordError(f"{entry.run.out}: {entry.triple} has no box records, so no location threshold to transfer")
    taus = {"fixed": record.protocol.loc_tau}
    if entry.val is not None:
        taus["val"] = _val_tau(entry)
    correct, boxed = record.column("correct") > 0, record.column("boxed") > 0
    hits = [located_at(entry.run, entry.triple, tau) for tau in taus.values()]
    return _Hits(record, taus, np.stack([*hits, *(h & correct for h in hits), boxed]).astype(np.float64))


def _val_tau(entry: Entry) -> float:
    val = entry.val
    assert val is not None
    mismatch = val_mismatch(entry.run, val, [entry.triple])
    if mismatch:
        raise RecordError(mismatch)
    triple = val_triple(entry.run, val, entry.triple)
    record = read_per_image(val, triple, val, loc_curves=True)
    if record.curves is None:
        raise RecordError(f"{val.out}: {triple} has no box records")
    return _oracle_tau(record.curves)


def _oracle_tau(curves: Curves) -> float:
    counts = curves.count(np.ones((len(curves.offsets) - 1, 1), np.uint8))
    return best_tau(torch.from_numpy(counts[curves.names.index(LOC), :, 0]), torch.from_numpy(curves.taus))


def _resampled(hits: Sequence[_Hits], resamples: int, seed: int) -> list[Samples]:
    """Of each: metric -> choice of τ -> scores (S,). A block of resamples is drawn once for all of as many images."""
    found: list[list[Samples]] = [[] for _ in hits]
    with ThreadPoolExecutor(usable_cores()) as pool:
        for images in dict.fromkeys(h.record.images for h in hits):
            same = [i for i, h in enumerate(hits) if h.record.images == images]
            plan = ResamplePlan(images, resamples, seed)
            for block in range(-(-plan.count // BLOCK)):
                weights = plan.weights(block)
                for i, scores in zip(same, pool.map(lambda i, w=weights: _scores(hits[i], w), same), strict=True):
                    found[i].append(scores)
    return [
        {m: {k: np.concatenate([part[m][k] for part in parts]) for k in parts[0][m]} for m in LOC_METRICS}
        for parts in found
    ]


def _scores(hits: _Hits, weights: npt.NDArray[np.uint8]) -> Samples:
    """Metric -> choice of τ -> scores (S,) in percent."""
    record = hits.record
    assert record.curves is not None
    sums = hits.rows @ weights.astype(np.float64)
    boxed = np.where(sums[-1] > 0, sums[-1], np.nan)
    best = dict(zip(record.curves.names, record.best_counts(record.curves.count(weights)), strict=True))
    found = {}
    for i, (metric, curve) in enumerate(LOC_METRICS.items()):
        rows = {name: sums[i * len(hits.taus) + k] for k, name in enumerate(hits.taus)}
        found[metric] = {name: 100.0 * row / boxed for name, row in (rows | {"oracle": best[curve]}).items()}
    return found


def _transfers(entry: Entry, hits: _Hits, samples: Samples, level: float) -> Iterator[Transfer]:
    assert hits.record.curves is not None
    points = _scores(hits, np.ones((hits.record.images, 1), np.uint8))
    for metric in (m for m in METRICS if m.name in LOC_METRICS):
        point, drawn = {k: float(v[0]) for k, v in points[metric.name].items()}, samples[metric.name]
        choices = {}
        for name, tau in hits.taus.items():
            gap = point["oracle"] - point[name]
            interval = bootstrap_interval(drawn["oracle"] - drawn[name], gap, level)
            choices[name] = Choice(tau, point[name], gap, interval)
        oracle = Choice(_oracle_tau(hits.record.curves), point["oracle"])
        yield Transfer(entry.name, metric, choices["fixed"], choices.get("val"), oracle)
