"""Every metric of a table, computed from per-image records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ...metrics import METRICS as REGISTERED
from ...metrics.functional import localisation
from ...protocol import Protocol
from ..records.columns import EXTRA
from ..records.load import Run, require_images
from ..records.manifest import RunManifest
from ..records.record_errors import RecordError
from .reduce import TOP5, Totals, loc_curve_column, reports_piou, totals
from .val_run import val_triple


@dataclass(frozen=True)
class Metric:
    """How a metric is called, printed and computed.

    Attributes:
        name: Key in CSV files. title: Column head. higher_is_better: Direction. unit: ``%`` or empty. digits: Decimals.
        needs: Columns without which a triple has no such score.
        compute: ``(totals, protocol) -> score``; None where it is not defined.
        ranked: Has a best value; False for facts such as the share of degenerate maps.
        source: Where the definition comes from.
    """

    name: str
    title: str
    higher_is_better: bool
    needs: tuple[str, ...]
    compute: Callable[[Totals, Protocol], float | None]
    unit: str = "%"
    digits: int = 2
    ranked: bool = True
    per_backbone: bool = False
    """The same for all triples of a backbone (classification accuracy)."""
    source: str = ""

    @property
    def arrow(self) -> str:
        """Direction: ``↑`` higher is better, ``↓`` lower is better."""
        return "↑" if self.higher_is_better else "↓"


def _percent(count: int, of: int) -> float:
    return float(localisation.percent(torch.tensor(count), of))


def _gt_known(t: Totals, p: Protocol) -> float:
    return _at_tau(t.loc_counts, t, p)


def _top1_loc(t: Totals, p: Protocol) -> float:
    return _at_tau(t.top1_counts, t, p)


def _at_tau(counts: npt.NDArray[np.int64], t: Totals, p: Protocol) -> float:
    if t.loc_index is None:
        raise RecordError(
            f"protocol {p.name} takes the location threshold from val: give the val run of its triples (--val)"
        )
    return float(localisation.percent(localisation.at_threshold(torch.from_numpy(counts), t.loc_index), t.boxed))


def _max_box_acc(t: Totals, p: Protocol) -> float:
    del p
    return float(localisation.max_box_acc(torch.from_numpy(t.single_counts), t.boxed))


def _max_box_acc_v2(t: Totals, p: Protocol) -> float:
    rows = t.multi_counts[[t.thresholds.index(d) for d in p.iou_thresholds]]
    return float(localisation.max_box_acc_v2(torch.from_numpy(rows), t.boxed))


def _known(
    name: str,
    title: str,
    needs: tuple[str, ...],
    compute: Callable[[Totals, Protocol], float | None],
    *,
    per_backbone: bool = False,
) -> Metric:
    """A registered metric with the short title of a column; direction, unit and source are the registry's."""
    spec = REGISTERED.get(name)
    return Metric(
        name,
        title,
        spec.higher_is_better,
        needs,
        compute,
        unit=spec.unit,
        per_backbone=per_backbone,
        source=spec.source,
    )


METRICS: tuple[Metric, ...] = (
    _known(
        "top1_cls",
        "Top-1 Cls",
        ("predicted", "label"),
        lambda t, _: _percent(t.correct, t.images),
        per_backbone=True,
    ),
    _known("top1_loc", "Top-1 Loc", ("hits_single", "predicted"), _top1_loc),
    _known("top5_loc", "Top-5 Loc", ("hits_single", TOP5), lambda t, p: _at_tau(t.top5_counts, t, p)),
    _known("gt_known_loc", "GT-known Loc", ("hits_single",), _gt_known),
    _known("max_box_acc", "MaxBoxAcc", ("hits_single",), _max_box_acc),
    _known("max_box_acc_v2", "MaxBoxAccV2", ("hits_multi",), _max_box_acc_v2),
    _known("pxap", "PxAP", ("pixel_histogram",), lambda t, _: t.pxap()),
    _known("piou", "pIoU", ("pixel_histogram",), lambda t, _: t.piou()),
    _known("average_drop", "Avg Drop", ("y", "o"), lambda t, _: t.average_drop),
    _known("increase_in_confidence", "Inc Conf", ("y", "o"), lambda t, _: t.increase),
    _known("average_gain", "Avg Gain", ("y", "o"), lambda t, _: t.average_gain),
    _known(
        "evidence_precision",
        "Evidence Prec",
        ("evidence_precision",),
        lambda t, _: 100 * t.evidence / t.images,
    ),
    Metric(
        "degenerate",
        "Degenerate",
        False,
        ("degenerate",),
        lambda t, _: _percent(t.degenerate, t.images),
        ranked=False,
        source="share of maps that are constant, empty or not finite",
    ),
)


@dataclass(frozen=True)
class ScoreTable:
    """Scores of triples over the same images.

    Attributes:
        metrics: Those that at least one triple has, in table order.
        scores: Triple -> metric name -> value in the metric's unit; a metric that a triple lacks is absent.
        images: Images averaged over.
    """

    metrics: tuple[Metric, ...]
    scores: dict[str, dict[str, float]]
    images: int


def score_run(run: Run, val: Run | None = None, triples: Sequence[str] | None = None) -> ScoreTable:
    """All metrics of a run's triples, from its records alone.

    Args:
        run: The records.
        val: Records of the val split, for a protocol whose location threshold is chosen there.
        triples: Triples to score (default: all that have records).

    Raises:
        RecordError: No image has a record of every triple; a part is damaged; a protocol's ``val`` run is missing.
    """
    require_images(run)
    wanted = list(run.triples if triples is None else triples)
    extra = extra_metrics(run, wanted)
    cache: dict[str, dict[str, float]] = {}
    for canonical in dict.fromkeys(run.manifest.canonical(t) for t in wanted):
        columns = set(run.columns(canonical))
        found = totals(
            run, canonical, columns, None if val is None else loc_curve_column(val, val_triple(run, val, canonical))
        )
        protocol = run.manifest.protocol
        applicable = [m for m in (*METRICS, *extra) if _applies(m, columns, run.manifest)]
        try:
            values = {m.name: m.compute(found, protocol) for m in applicable}
        except ValueError as error:
            raise RecordError(f"{canonical}: {error}") from None
        cache[canonical] = {name: value for name, value in values.items() if value is not None}
    scores = {t: cache[run.manifest.canonical(t)] for t in wanted}
    present = {name for row in scores.values() for name in row}
    return ScoreTable(tuple(m for m in (*METRICS, *extra) if m.name in present), scores, len(run.index))


def _applies(metric: Metric, columns: set[str], manifest: RunManifest) -> bool:
    if metric.name == "average_gain" and manifest.protocol.fidelity_score == "logit":
        return False
    if metric.name == "piou" and not reports_piou(manifest):
        return False
    return set(metric.needs) <= columns


def extra_metrics(run: Run, triples: Sequence[str]) -> list[Metric]:
    """Metrics of the ``extra:`` columns: the mean over images, as the manifest describes them."""
    names = dict.fromkeys(n for t in triples for n in run.columns(t) if n.startswith(EXTRA))
    metrics = []
    for column in names:
        name = column.removeprefix(EXTRA)
        about = run.manifest.metrics.get(name)
        scale = 100.0 if about is not None and about.unit == "%" else 1.0
        metrics.append(
            Metric(
                name,
                (about.title if about else "") or name,
                about.higher_is_better if about else True,
                (column,),
                _mean_of(column, scale),
                unit=about.unit if about else "",
                digits=about.digits if about else 2,
                ranked=about is not None,
                source=about.source if about else "",
            )
        )
    return metrics


def _mean_of(column: str, scale: float) -> Callable[[Totals, Protocol], float]:
    return lambda t, _: scale * t.extra[column] / t.images
