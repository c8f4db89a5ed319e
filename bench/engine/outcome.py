"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ...results.records.load import Run
from ...results.statistics import Standing


@dataclass(frozen=True)
class Done:
    """A run that came to its end.

    Attributes:
        records: What the folder holds.
        paths: Files that were written: ``run.json`` and the tables.
        lost: Triple, or ``metric NAME``, that failed in this session -> why, with image and line.
        unfinished: Triple -> shards that no rank of the launch computed; there are no tables then.
        others_at_work: Other ranks go on; the last of them writes the tables.
        standing: The statistics of the tables, where this process made them.
    """

    records: Run
    paths: tuple[Path, ...]
    lost: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, list[int]] = field(default_factory=dict)
    others_at_work: bool = False
    standing: Standing | None = None
