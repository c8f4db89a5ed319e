"""Per-image metrics of a run beside those that the engine computes itself: selection, identity, evaluation."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ...datasets.schema import SampleTable
from ...metrics.spec import METRICS, MapBatch, MetricSpec
from ...registry import expand_braces
from ...results.records.manifest import MetricRecord
from ..host.errors import RunError, UsageError

GLOB = frozenset("*?[")


def choose_measures(patterns: Iterable[str], table: SampleTable) -> list[MetricSpec]:
    """Per-image metrics that patterns select and the data supports; a metric named in full must be possible.

    Raises:
        UnknownNameError: A name matches no metric. UsageError: A named metric is not per-image, or lacks its data.
    """
    has = {"boxes": table.has_boxes, "masks": table.has_masks, "evidence": table.has_evidence}
    chosen: dict[str, MetricSpec] = {}
    for pattern in (plain for p in patterns for plain in expand_braces(p)):
        named = not GLOB & set(pattern)
        for name in METRICS.match(pattern):
            spec = METRICS.get(name)
            lacking = [need for need in spec.needs if not has.get(need, True)]
            if named and spec.per_image is None:
                raise UsageError(f"metric {name}: always computed where the data supports it; it needs no --metrics")
            if named and lacking:
                raise UsageError(f"metric {name} needs {', '.join(lacking)}, which {table.name} {table.split} lacks")
            if spec.per_image is not None and not lacking and (named or not spec.expensive):
                chosen[name] = spec
    return list(chosen.values())


def measures_key(specs: Sequence[MetricSpec]) -> str:
    """Names of the metrics, those of other packages with a digest of their code: part of the run's key."""
    return ",".join(f"{s.name}{_code(s)}" for s in sorted(specs, key=lambda s: s.name))


def _code(spec: MetricSpec) -> str:
    assert spec.per_image is not None
    digest = foreign_code(spec.per_image)
    return f"@{digest[:12]}" if digest else ""


def foreign_code(function: Callable[..., object]) -> str:
    """SHA-256 of the file of a user's function; empty for our own, which the code version covers."""
    if function.__module__.startswith(f"{__package__.partition('.')[0]}."):
        return ""
    try:
        return hashlib.sha256(Path(inspect.getfile(function)).read_bytes()).hexdigest()
    except (TypeError, OSError):
        code = getattr(function, "__code__", None)
        return hashlib.sha256(code.co_code if code is not None else repr(function).encode()).hexdigest()


def measure_record(spec: MetricSpec) -> MetricRecord:
    """What ``run.json`` says of a per-image metric."""
    return MetricRecord(title=spec.title, higher_is_better=spec.higher_is_better, unit=spec.unit, source=spec.source)


def measure(spec: MetricSpec, batch: MapBatch) -> Tensor:
    """Values (B,) float64 of a metric on a batch; whether they are finite is seen on the host, by ``check_finite``.

    Raises:
        RunError: The metric returned another shape.
    """
    assert spec.per_image is not None
    values = spec.per_image(batch).detach().double()
    if values.shape != (len(batch.maps),):
        raise RunError(f"metric {spec.name} returned shape {tuple(values.shape)}, expected ({len(batch.maps)},)")
    return values


def check_finite(name: str, values: npt.NDArray[np.generic], image_ids: Sequence[str]) -> None:
    """Refuse values (B,) of the metric ``name`` that are not finite.

    Raises:
        RunError: Names the first image concerned.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        raise RunError(f"metric {name}: not a finite number for image {image_ids[int(bad.argmax())]}")
