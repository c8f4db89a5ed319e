"""What an engine that starts workers does for a launch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from .run_worker import WorkerReport

Poll = Callable[[], WorkerReport | None]
"""How a worker ended, or None while it works; ``LostWorkerError`` where it is gone."""


class LostWorkerError(Exception):
    """A worker ended without a report: killed, out of memory, its machine gone."""


class Workers(Protocol):
    """Workers that an engine starts, on this machine or elsewhere."""

    retries: int
    """How often the launch starts a lost worker again, beside what the engine does by itself."""

    def start(self, order: str, ranks: Iterable[int]) -> dict[int, Poll]:
        """Start the workers of some numbers."""
        ...

    def close(self) -> None:
        """End what still works, and give back what was taken."""
        ...


def numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options ``key=value`` of an engine, numbers and true and false as such."""
    return {key: _number(value) for key, value in options.items()}


def _number(value: Any) -> Any:
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value
