"""What an adapter found wrong or worth telling: collected, so that the doctor shows all and a run stops on errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .schema import DatasetError

Level = Literal["error", "warning", "note"]
EXAMPLES = 5
"""How many examples a message names before it says "and N more"."""


@dataclass(frozen=True)
class Finding:
    """One finding. ``where``: file, and line where there is one; ``fix``: the next step; ``count``: how often."""

    level: Level
    what: str
    where: str = ""
    fix: str = ""
    count: int = 1

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        fix = f"\n    → {self.fix}" if self.fix else ""
        return f"{where}{self.what}{fix}"


class WrongFolderError(DatasetError):
    """The data set lies elsewhere: ``right`` is its folder."""

    def __init__(self, message: str, right: Path) -> None:
        super().__init__(message)
        self.right = right


class OptionError(DatasetError):
    """An option that the data set has not, or a value that it cannot have."""


class Findings:
    """An ordered collection of findings of one data set and split."""

    def __init__(self, items: Iterable[Finding] = ()) -> None:
        self.items: list[Finding] = list(items)
        self._lines: Counter[tuple[Level, str, str]] = Counter()
        self._rest: dict[tuple[Level, str, str], int] = {}

    def add(self, level: Level, what: str, where: object = "", fix: str = "", count: int = 1) -> None:
        """Record one finding."""
        self.items.append(Finding(level, what, str(where), fix, count))

    def error(self, what: str, where: object = "", fix: str = "", count: int = 1) -> None:
        """Record something that a run must not pass over."""
        self.add("error", what, where, fix, count)

    def warn(self, what: str, where: object = "", fix: str = "", count: int = 1) -> None:
        """Record something odd that does not stop a run."""
        self.add("warning", what, where, fix, count)

    def note(self, what: str, where: object = "", fix: str = "", count: int = 1) -> None:
        """Record something that the user should know."""
        self.add("note", what, where, fix, count)

    def line(self, what: str, path: object, line: int, fix: str = "", level: Level = "error") -> None:
        """Record a bad line of a file; of many with the same ``fix`` the first are kept and the others counted."""
        key = (level, str(path), fix)
        self._lines[key] += 1
        more = self._lines[key] - EXAMPLES
        if more <= 0:
            self.add(level, what, f"{path}:{line}", fix)
            return
        rest = Finding(level, f"{more:,} more lines like these, the last is line {line:,}", str(path), fix, more)
        if key in self._rest:
            self.items[self._rest[key]] = rest
        else:
            self._rest[key] = len(self.items)
            self.items.append(rest)

    def of(self, *levels: Level) -> list[Finding]:
        """Findings of some levels, in the order in which they were recorded."""
        return [f for f in self.items if f.level in levels]

    def raise_errors(self, title: str) -> None:
        """Raise ``DatasetError`` listing every error; does nothing where there is none."""
        errors = self.of("error")
        if errors:
            raise DatasetError("\n".join([f"{title}:", *(f"  {e}" for e in errors)]), findings=tuple(self.items))


def some(names: Sequence[object], count: int | None = None) -> str:
    """The first few of ``names`` and how many more there are: ``a, b, c and 7 more``."""
    total = len(names) if count is None else count
    shown = ", ".join(str(n) for n in names[:EXAMPLES])
    return f"{shown} and {total - EXAMPLES:,} more" if total > EXAMPLES else shown
