"""How maps are scored: a functional core and torchmetrics classes."""

from .registry import METRICS, MetricSpec, register_metric

__all__ = ["METRICS", "MetricSpec", "register_metric"]
