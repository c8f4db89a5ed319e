"""Names that can be used, by kind: thin views of the registries."""

from __future__ import annotations

from .baselines.cams import CAMS
from .baselines.contracts import BACKBONES, HEADS
from .baselines.wsol import WSOL
from .datasets.schema import DATASETS
from .metrics import METRICS
from .protocol import PROTOCOLS
from .triple import TIMM


def list_backbones(pattern: str = "*") -> list[str]:
    """Registered backbones that match a glob; ``timm:`` patterns list timm's networks that can be used."""
    if pattern.startswith(TIMM):
        from .baselines.backbones import timm_models

        return [f"{TIMM}{m.name}" for m in timm_models(pattern.removeprefix(TIMM)) if not m.refused]
    return BACKBONES.names(pattern)


def list_cams(pattern: str = "*") -> list[str]:
    """Registered CAM methods that match a glob."""
    return CAMS.names(pattern)


def list_heads(pattern: str = "*") -> list[str]:
    """Registered heads that match a glob."""
    return HEADS.names(pattern)


def list_datasets(pattern: str = "*") -> list[str]:
    """Registered data sets that match a glob."""
    return DATASETS.names(pattern)


def list_metrics(pattern: str = "*") -> list[str]:
    """Registered metrics that match a glob."""
    return METRICS.names(pattern)


def list_protocols(pattern: str = "*") -> list[str]:
    """Named protocols that match a glob."""
    return PROTOCOLS.names(pattern)


def list_wsol(pattern: str = "*") -> list[str]:
    """Registered ways of training a network for localisation that match a glob."""
    return WSOL.names(pattern)
