"""Errors of the results room; each message says what was wrong, where, and what to do."""

from __future__ import annotations

from pathlib import Path


class ResultsError(RuntimeError):
    """Base of every error of this room."""


class RunMismatchError(ResultsError):
    """A folder holds a run of another protocol, data set, code version or weights; it was not touched.

    Attributes:
        differences: One line per differing field: name, ours, theirs.
    """

    def __init__(self, out: Path, differences: list[str]) -> None:
        lines = "\n".join(f"  {line}" for line in differences)
        super().__init__(f"{out} holds another run:\n{lines}\nIt was left untouched; choose another --out folder.")
        self.out, self.differences = out, differences


class RunLockedError(ResultsError):
    """Another process writes to the folder.

    Attributes:
        holders: Processes that hold it, ``PID`` or ``PID on HOST`` (empty where they are not known).
    """

    def __init__(self, out: Path, holders: list[str]) -> None:
        who = f"process {', '.join(holders)}" if holders else "another process"
        super().__init__(f"{out} is being written by {who}; wait for it, or choose another --out folder")
        self.out, self.holders = out, holders


class RecordError(ResultsError):
    """Records that cannot be written or read: a missing column, a truncated part, an unknown schema version."""
