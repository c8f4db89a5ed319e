"""What every metric is made of, image by image: columns to average, and hits over the location threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...metrics.functional.fidelity import average_drop, average_gain, drops, gains, increase_in_confidence
from ...metrics.functional.localisation import at_threshold, best_tau, hits_at, loc_threshold, tau_grid, unpack_hits
from ...metrics.functional.pixels import pious, pxap
from ...protocol import Protocol
from ..records.columns import EXTRA, HITS, Array
from ..records.load import Run, require_images
from ..records.record_errors import RecordError
from .curves import Counts, Curves, HitReader
from .reduce import SCALARS, TOP5, has_drop, loc_curve_column, reference_of, reports_piou
from .val_run import val_triple

Floats = npt.NDArray[np.float64]

V2 = "multi:"
SINGLE, LOC, TOP1, TOP5_LOC = "single", "located", "top1", "top5"
PIXELS = "pixel_histogram"


@dataclass(frozen=True)
class PerImage:
    """A triple's records over n images, reduced to what its metrics are made of.

    Attributes:
        run: The records. triple: Whose they are.
        names: Columns of ``values``: ``correct``, ``degenerate``, ``boxed``, ``located``, ``top1`` (0 or 1), ``drop``,
            ``increase``, ``gain``, ``evidence_precision`` (fractions) and the ``extra:`` columns.
        values: float64 (n,k).
        curves: Hits over τ, where there are boxes: a row ``multi:δ`` per IoU threshold of MaxBoxAccV2, ``single``, and
            where τ is chosen on these images ``located`` and ``top1``.
        tau: Location threshold that does not depend on these images (fixed, or chosen on val); None for ``oracle``.
        has_pixels: There are PxAP histograms; they are read in batches when they are needed.
    """

    run: Run
    triple: str
    names: tuple[str, ...]
    values: Floats
    curves: Curves | None
    tau: float | None
    has_pixels: bool

    @property
    def images(self) -> int:
        """Number of images n."""
        return len(self.values)

    @property
    def protocol(self) -> Protocol:
        """The protocol of the records."""
        return self.run.manifest.protocol

    def column(self, name: str) -> Floats:
        """One column (n,) of ``values``."""
        return self.values[:, self.names.index(name)]

    def best_counts(self, counts: Counts) -> Counts:
        """Images that hit at the thresholds chosen in each sample, int32 (R,S), of weighted hits (R,T,S).

        ``multi:δ`` and ``single`` are at their own best threshold; ``located`` and ``top1`` both at the best of
        ``located``, so that Top-1 Loc speaks of the same boxes as GT-known Loc.
        """
        assert self.curves is not None
        best: Counts = counts.max(axis=1)
        if LOC in self.curves.names:
            rows = [self.curves.names.index(name) for name in (LOC, TOP1, TOP5_LOC) if name in self.curves.names]
            loc = torch.from_numpy(counts[rows]).movedim(1, -1)
            best[rows] = at_threshold(loc, loc_threshold(loc[0], "oracle")).numpy()
        return best

    def scores(self, sums: Floats, best: Counts | None) -> dict[str, Floats]:
        """All metrics but PxAP of S weighted samples of the images, in the metrics' units.

        Args:
            sums: Weighted sums (k,S) of ``values``; the weights of a sample add up to n.
            best: What ``best_counts`` (R,S) makes of the samples' hits.
        """
        at = dict(zip(self.names, sums, strict=True))
        found = {"top1_cls": at["correct"] / self.images} if "correct" in at else {}
        found["degenerate"] = at["degenerate"] / self.images
        for metric, column in _MEANS.items():
            if column in at:
                found[metric] = at[column] / self.images
        if self.curves is not None and best is not None:
            found |= self._box_scores(at, dict(zip(self.curves.names, best, strict=True)))
            if "correct" not in at:
                del found["top1_loc"]
        percent = {name: 100.0 * value for name, value in found.items()}
        for name in self.names:
            if name.startswith(EXTRA):
                percent[name.removeprefix(EXTRA)] = self._scale(name) * at[name] / self.images
        return percent

    def point(self) -> dict[str, float]:
        """All metrics of the images themselves."""
        ones = np.ones((self.images, 1), np.uint8)
        best = None if self.curves is None else self.best_counts(self.curves.count(ones))
        found = {name: float(v[0]) for name, v in self.scores(self.values.sum(0)[:, None], best).items()}
        if self.has_pixels:
            batches = self.run.batches(self.triple, [PIXELS])
            total = sum(b[PIXELS].sum(axis=0, dtype=np.int64) for b in batches)
            found["pxap"] = pxap(torch.from_numpy(np.asarray(total)))
            if reports_piou(self.run.manifest):
                found["piou"] = float(pious(torch.from_numpy(np.asarray(total))[None])[0])
        return found

    def _box_scores(self, at: dict[str, Floats], best: dict[str, Counts]) -> dict[str, Floats]:
        # A resample of a split with few boxes may hold none of them: that one has no score.
        boxed = np.where(at["boxed"] > 0, at["boxed"], np.nan)
        multi = np.mean([best[f"{V2}{d}"] for d in self.protocol.iou_thresholds], axis=0)
        loc: Mapping[str, Array] = best if self.tau is None else at
        return {
            "max_box_acc": best[SINGLE] / boxed,
            "max_box_acc_v2": multi / boxed,
            "gt_known_loc": loc[LOC] / boxed,
            "top1_loc": loc[TOP1] / boxed,
            **({"top5_loc": loc[TOP5_LOC] / boxed} if TOP5_LOC in loc else {}),
        }

    def _scale(self, column: str) -> float:
        about = self.run.manifest.metrics.get(column.removeprefix(EXTRA))
        return 100.0 if about is not None and about.unit == "%" else 1.0


_MEANS = {
    "average_drop": "drop",
    "increase_in_confidence": "increase",
    "average_gain": "gain",
    "evidence_precision": "evidence_precision",
}


def read_per_image(run: Run, triple: str, val: Run | None = None, *, loc_curves: bool = False) -> PerImage:
    """Read a triple's records once (PxAP histograms stay on disk).

    Args:
        run: The records.
        triple: A triple with records.
        val: Records of the val split, for a protocol whose location threshold is chosen there.
        loc_curves: Keep the curves ``located`` and ``top1`` under any protocol.

    Raises:
        RecordError: No common image, a damaged part, a score that is not finite, or a missing ``val`` run.
    """
    require_images(run)
    have = run.columns(triple)
    scalars = [n for n in have if n in SCALARS or n.startswith(EXTRA)]
    hits = [n for n in HITS if n in have]
    kept: dict[str, list[Array]] = {n: [] for n in [*scalars, *hits]}
    for batch in run.batches(triple, list(kept)):
        for name, parts in kept.items():
            parts.append(batch[name])
    data = {name: np.concatenate(parts) for name, parts in kept.items()}
    protocol = run.manifest.protocol
    predicts = "predicted" in data
    correct = data["predicted"] == data["label"] if predicts else np.zeros(len(data["label"]), bool)
    columns = {**({"correct": correct} if predicts else {}), "degenerate": data["degenerate"] != 0}
    curves, tau = None, None
    if hits:
        tau = _fixed_tau(run, triple, val)
        boxes, curves = _boxes(run, data, correct, tau, loc_curves)
        columns |= boxes
    if "y" in data and "o" in data:
        columns |= _fidelity(data["y"], data["o"], protocol, triple)
    columns |= {n: data[n] for n in have if n == "evidence_precision" or n.startswith(EXTRA)}
    for name, value in columns.items():
        bad = int((~np.isfinite(value)).sum())
        if bad:
            raise RecordError(f"{triple}: column {name} is NaN or infinite for {bad} of {len(value)} images")
    values = np.stack([np.asarray(v, dtype=np.float64) for v in columns.values()], axis=1)
    return PerImage(run, triple, tuple(columns), values, curves, tau, PIXELS in have)


def located_at(run: Run, triple: str, tau: float) -> npt.NDArray[np.bool_]:
    """Images bool (n,) that the protocol's box rule locates at a threshold τ; False for an image without a box."""
    data = {n: run.column(triple, n) for n in run.columns(triple) if n in (*HITS, "peak", "reference", "n_boxes")}
    return _boxed(data) & _hits_at(_located(run, data), reference_of(data), tau)


def _fixed_tau(run: Run, triple: str, val: Run | None) -> float | None:
    protocol = run.manifest.protocol
    if protocol.loc_threshold == "fixed":
        return protocol.loc_tau
    if protocol.loc_threshold == "oracle":
        return None
    if val is None:
        raise RecordError(
            f"protocol {protocol.name} takes the location threshold from val: give the val run of {triple} (--val)"
        )
    located = loc_curve_column(val, val_triple(run, val, triple))
    return best_tau(torch.from_numpy(located), tau_grid(protocol.tau_grid))


def _boxes(
    run: Run, data: dict[str, Array], correct: npt.NDArray[np.bool_], tau: float | None, loc_curves: bool
) -> tuple[dict[str, Array], Curves]:
    protocol, thresholds = run.manifest.protocol, run.manifest.hit_thresholds
    boxed = _boxed(data)
    if not boxed.any():
        raise RecordError(f"{run.out}: no image has a ground-truth box")
    located = _located(run, data)
    reader = HitReader(reference_of(data), tau_grid(protocol.tau_grid).numpy())
    rows: dict[str, tuple[Array, npt.NDArray[np.bool_]]] = {
        f"{V2}{d}": (data["hits_multi"][:, thresholds.index(d)], boxed) for d in protocol.iou_thresholds
    }
    rows[SINGLE] = (data["hits_single"][:, thresholds.index(protocol.loc_iou)], boxed)
    if tau is None or loc_curves:
        rows |= {LOC: (located, boxed), TOP1: (located, boxed & correct)}
        rows |= {TOP5_LOC: (located, boxed & (data[TOP5] > 0))} if TOP5 in data else {}
    columns: dict[str, Array] = {"boxed": boxed}
    if tau is not None:
        hit = boxed & _hits_at(located, reference_of(data), tau)
        columns |= {LOC: hit, TOP1: hit & correct}
        columns |= {TOP5_LOC: hit & (data[TOP5] > 0)} if TOP5 in data else {}
    return columns, reader.curves(rows)


def _boxed(data: dict[str, Array]) -> npt.NDArray[np.bool_]:
    return data["n_boxes"] > 0 if "n_boxes" in data else np.ones(len(data["peak"]), dtype=bool)


def _located(run: Run, data: dict[str, Array]) -> Array:
    """Hit bits (n,32) of the protocol's box rule."""
    protocol = run.manifest.protocol
    name = "hits_single" if protocol.gt_boxes == "any" else "hits_single_first"
    return data[name][:, run.manifest.hit_thresholds.index(protocol.loc_iou)]


def _hits_at(packed: Array, peak: Array, tau: float) -> npt.NDArray[np.bool_]:
    hits = unpack_hits(torch.from_numpy(np.ascontiguousarray(packed)))
    found: npt.NDArray[np.bool_] = hits_at(hits, torch.from_numpy(peak), tau).numpy()
    return found


def _fidelity(y: Array, o: Array, protocol: Protocol, triple: str) -> dict[str, Any]:
    scores = torch.from_numpy(y), torch.from_numpy(o)
    try:
        increase_in_confidence(*scores)
        found: dict[str, Any] = {"increase": o > y}
        if has_drop(y):
            average_drop(*scores)
            found = {"drop": drops(*scores).numpy(), **found}
        if protocol.fidelity_score != "logit":
            average_gain(*scores)
            found["gain"] = gains(*scores).numpy()
    except ValueError as error:
        raise RecordError(f"{triple}: {error}") from None
    return found
