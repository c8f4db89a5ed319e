"""What the steps of a reproduction took, beside what they were thought to take."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...atomic import write_text
from .plan_steps import Step


class Clock:
    """What each step took, and what the reproduction took beside its steps."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._steps: list[dict[str, Any]] = []
        self._parts = 0.0

    @contextmanager
    def part(self, step: Step) -> Iterator[None]:
        """Time a step: opening data and network, the work, and writing it, as its own command would do."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self._parts += seconds
        facts = {"kind": step.kind, "dataset": step.dataset, "what": step.what, "there_already": step.done}
        self._steps.append({**facts, "estimated_s": step.seconds, "seconds": seconds})

    def write(self, file: Path, planning: float, *, shared: bool = False) -> None:
        """``steps`` with their estimated and measured seconds; ``beside_s``: plan, report and all between the steps.

        Of processes that ``shared`` the steps each adds its own; of one that several did, the longest stands.
        """
        beside = planning + time.perf_counter() - self._start - self._parts
        steps = _longest([*_read(file), *self._steps]) if shared else self._steps
        total = sum(step["seconds"] for step in steps)
        content = {"steps": steps, "steps_s": total, "beside_s": beside, "planning_s": planning}
        write_text(file, json.dumps(content, indent=1) + "\n")


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(file.read_bytes())["steps"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _longest(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for step in steps:
        key = step["kind"], step["dataset"], step["what"]
        if key not in found or step["seconds"] > found[key]["seconds"]:
            found[key] = step
    return list(found.values())
