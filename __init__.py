"""cambench: compare class activation maps honestly.

The public names below are imported at first use, so that ``import cambench`` loads no network library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .api import list_backbones, list_cams, list_datasets, list_heads, list_metrics, list_protocols, list_wsol
    from .baselines.backbones import wrap
    from .baselines.cams import register_cam
    from .baselines.contracts import register_backbone, register_head
    from .baselines.wsol import WsolMethod, register_wsol
    from .bench.notebook.explain import explain
    from .bench.notebook.result import RunResult, compare, load
    from .bench.notebook.runs import run
    from .datasets.schema import register_dataset
    from .metrics import register_metric
    from .protocol import Protocol

_HOMES = {
    "Protocol": ".protocol",
    "WsolMethod": ".baselines.wsol",
    "RunResult": ".bench.notebook.result",
    "compare": ".bench.notebook.result",
    "explain": ".bench.notebook.explain",
    "list_backbones": ".api",
    "list_cams": ".api",
    "list_datasets": ".api",
    "list_heads": ".api",
    "list_metrics": ".api",
    "list_protocols": ".api",
    "list_wsol": ".api",
    "load": ".bench.notebook.result",
    "register_backbone": ".baselines.contracts",
    "register_cam": ".baselines.cams",
    "register_dataset": ".datasets.schema",
    "register_head": ".baselines.contracts",
    "register_metric": ".metrics",
    "register_wsol": ".baselines.wsol",
    "run": ".bench.notebook.runs",
    "wrap": ".baselines.backbones",
}

__all__ = [
    "Protocol",
    "RunResult",
    "WsolMethod",
    "__version__",
    "compare",
    "explain",
    "list_backbones",
    "list_cams",
    "list_datasets",
    "list_heads",
    "list_metrics",
    "list_protocols",
    "list_wsol",
    "load",
    "register_backbone",
    "register_cam",
    "register_dataset",
    "register_head",
    "register_metric",
    "register_wsol",
    "run",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
