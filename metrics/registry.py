"""What can be measured: every metric's title, direction, unit and source."""

from __future__ import annotations

from dataclasses import dataclass

from ..registry import Registry


@dataclass(frozen=True)
class MetricSpec:
    """A metric that tables may show.

    ``kind``: ``classification``, ``localisation``, ``pixels`` or ``fidelity``. ``needs``: what it is computed from
    (``boxes``, ``masks``, ``evidence``, ``scores``, ``labels``). ``class_name``: its torchmetrics class.
    """

    name: str
    title: str
    higher_is_better: bool
    unit: str
    source: str
    kind: str = "localisation"
    needs: tuple[str, ...] = ()
    class_name: str = ""


METRICS: Registry[MetricSpec] = Registry("metric", "cambench.metrics", ("cambench.metrics.catalogue",))


def register_metric(spec: MetricSpec, *, origin: str | None = None) -> MetricSpec:
    """Register a metric under ``spec.name``; RegistryError if the name is taken by another module."""
    return METRICS.add(spec.name, spec, origin=origin)
