"""Per-image metrics of a run beside those that the engine computes itself: selection, identity, evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields

from torch import Tensor

from ....datasets.schema import SampleTable
from ....metrics import METRICS, MapBatch, MetricSpec
from ....registry import expand_braces
from ....results.records.described import MetricRecord
from ....torch_state import spared
from ...host.errors import UsageError
from .foreign_code import foreign_code
from .losses import BadReturnError

_OURS = f"{__package__.partition('.')[0]}."
GLOB = frozenset("*?[")


def choose_measures(patterns: Iterable[str], table: SampleTable) -> list[MetricSpec]:
    """Per-image metrics that patterns select and the data supports; a metric named in full must be possible.

    Raises:
        UnknownNameError: A name matches no metric. UsageError: A named metric is not per-image, or lacks its data.
    """
    has = {"boxes": table.has_boxes, "masks": table.has_masks, "evidence": table.has_evidence}
    has["labels"] = table.labelled and not table.class_rows
    chosen: dict[str, MetricSpec] = {}
    for pattern in (plain for p in patterns for plain in expand_braces(p)):
        named = not GLOB & set(pattern)
        for name in METRICS.match(pattern):
            spec = METRICS.get(name)
            if named and spec.made_from:
                spec = METRICS.get(spec.made_from)
            lacking = [need for need in spec.needs if not has.get(need, True)]
            if named and spec.per_image is None:
                raise UsageError(f"metric {name}: always computed where the data supports it; it needs no --metrics")
            if named and lacking:
                raise UsageError(f"metric {name} needs {', '.join(lacking)}, which {table.name} {table.split} lacks")
            if spec.per_image is not None and not lacking and (named or not (spec.expensive or spec.named)):
                chosen[spec.name] = spec
    return list(chosen.values())


def measures_key(specs: Sequence[MetricSpec]) -> str:
    """Names of the metrics: part of the run's key. The code of foreign ones is part of each record's."""
    return ",".join(sorted(s.name for s in specs))


def measure_record(spec: MetricSpec) -> MetricRecord:
    """What ``run.json`` says of a per-image metric."""
    assert spec.per_image is not None
    return MetricRecord(
        title=spec.title,
        higher_is_better=spec.higher_is_better,
        unit=spec.unit,
        digits=spec.digits,
        source=spec.source,
        code_sha256=foreign_code(spec.per_image),
    )


def measure(spec: MetricSpec, batch: MapBatch) -> Tensor:
    """Values (B,) float64 of a metric on a batch; whether they are finite is seen on the host.

    Raises:
        BadReturnError: The metric returned something else than a tensor of one real number an image.
    """
    assert spec.per_image is not None
    values = _called(spec.per_image, batch)
    if not isinstance(values, Tensor):
        raise BadReturnError(f"returned a {type(values).__name__}; expected a tensor ({len(batch.maps)},)")
    if values.shape != (len(batch.maps),) or values.is_complex():
        raise BadReturnError(
            f"returned {values.dtype} of shape {tuple(values.shape)}; expected real numbers ({len(batch.maps)},)"
        )
    return values.detach().double()


def _called(per_image: Callable[[MapBatch], Tensor], batch: MapBatch) -> object:
    """What a metric's function returns; a foreign one must leave the tensors that all metrics read as they are."""
    if str(getattr(per_image, "__module__", "")).startswith(_OURS):
        return per_image(batch)
    with spared({f.name: t for f in fields(batch) if isinstance(t := getattr(batch, f.name), Tensor)}) as changed:
        values = per_image(batch)
    if changed:
        raise BadReturnError(f"it changes {changed[0]} of its batch in place, which all metrics read: clone() it first")
    return values
