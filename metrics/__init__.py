"""How maps are scored: a functional core and torchmetrics classes (imported when first asked for)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .spec import METRICS, MapBatch, MetricSpec, NotMeasurableError, register_metric

if TYPE_CHECKING:
    from .classes.box_metrics import GTKnownLoc, MaxBoxAcc, MaxBoxAccV2, Top1Loc, Top5Loc
    from .classes.fidelity_metrics import (
        AverageDrop,
        AverageGain,
        EvidencePrecision,
        IncreaseInConfidence,
        Top1Cls,
        Top5Cls,
    )
    from .classes.pixel_metrics import PIoU, PxAP
    from .classes.probing_metrics import Deletion, EnergyPointingGame, Insertion, PointingGame
    from .classes.removal_metrics import MapRankCorrelation, MapSSIM, Road, RoadLeRF, RoadMoRF, SensitivityN

_HOMES = {
    "classes.box_metrics": ("GTKnownLoc", "MaxBoxAcc", "MaxBoxAccV2", "Top1Loc", "Top5Loc"),
    "classes.fidelity_metrics": (
        "AverageDrop",
        "AverageGain",
        "EvidencePrecision",
        "IncreaseInConfidence",
        "Top1Cls",
        "Top5Cls",
    ),
    "classes.pixel_metrics": ("PIoU", "PxAP"),
    "classes.probing_metrics": ("Deletion", "EnergyPointingGame", "Insertion", "PointingGame"),
    "classes.removal_metrics": (
        "MapRankCorrelation",
        "MapSSIM",
        "Road",
        "RoadLeRF",
        "RoadMoRF",
        "SensitivityN",
    ),
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
    "MapBatch",
    "MapRankCorrelation",
    "MapSSIM",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "MetricSpec",
    "NotMeasurableError",
    "PIoU",
    "PointingGame",
    "PxAP",
    "Road",
    "RoadLeRF",
    "RoadMoRF",
    "SensitivityN",
    "Top1Cls",
    "Top1Loc",
    "Top5Cls",
    "Top5Loc",
    "register_metric",
]


def __getattr__(name: str) -> object:
    # torchmetrics takes a second to import, which the functional core does not need.
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
