"""How maps are scored: a functional core and torchmetrics classes (imported when first asked for)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .registry import METRICS, MetricSpec, register_metric

if TYPE_CHECKING:
    from .box_metrics import GTKnownLoc, MaxBoxAcc, MaxBoxAccV2, Top1Loc
    from .fidelity_metrics import AverageDrop, AverageGain, EvidencePrecision, IncreaseInConfidence, Top1Cls
    from .pixel_metrics import PxAP
    from .probing_metrics import Deletion, EnergyPointingGame, Insertion, PointingGame

_HOMES = {
    "box_metrics": ("GTKnownLoc", "MaxBoxAcc", "MaxBoxAccV2", "Top1Loc"),
    "fidelity_metrics": ("AverageDrop", "AverageGain", "EvidencePrecision", "IncreaseInConfidence", "Top1Cls"),
    "pixel_metrics": ("PxAP",),
    "probing_metrics": ("Deletion", "EnergyPointingGame", "Insertion", "PointingGame"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "METRICS",
    "AverageDrop",
    "AverageGain",
    "Deletion",
    "EnergyPointingGame",
    "EvidencePrecision",
    "GTKnownLoc",
    "IncreaseInConfidence",
    "Insertion",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MetricSpec",
    "PointingGame",
    "PxAP",
    "Top1Cls",
    "Top1Loc",
    "register_metric",
]


def __getattr__(name: str) -> object:
    # torchmetrics takes a second to import, which the functional core does not need.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
