"""What the doctor reports of a data set and of each of its splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..findings import Finding
from ..schema import ImageFailure, Split


@dataclass
class SplitReport:
    """One split. ``expected``: published number of images, None where there is none; boxes: per image."""

    split: Split
    rows: int = 0
    expected: int | None = None
    variant: str = ""
    num_classes: int = 0
    classes_present: int = 0
    boxes: int = 0
    boxes_per_image: tuple[int, float, int] = (0, 0.0, 0)
    several_boxes: int = 0
    has_masks: bool = False
    findings: list[Finding] = field(default_factory=list)
    fingerprint: str = ""
    unreadable: tuple[ImageFailure, ...] = ()
    modes: Mapping[str, int] = field(default_factory=dict)
    right_root: Path | None = None
    """The data set's folder, where the root is above or inside it."""

    @property
    def problems(self) -> list[Finding]:
        """Findings that a run stops on."""
        return [f for f in self.findings if f.level == "error"]


@dataclass
class DoctorReport:
    """One data set under one root. ``next_steps``: how to get what is missing."""

    name: str
    title: str
    root: Path | None
    licence: str
    citation: str
    source: str
    splits: list[SplitReport]
    next_steps: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is a split, every one can be used, and every image decodes (as far as that was asked)."""
        return any(s.rows for s in self.splits) and not any(s.problems or s.unreadable for s in self.splits)
