"""Several columns of a CSV that say the class: an index beside a name, or the same said twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from ...findings import Findings, some
from ...schema import DatasetError
from .label_words import class_indices, whole

Row = tuple[str, ...]
"""What the columns of one line say, cleaned; empty where a column says nothing."""


class LabelColumns:
    """The classes of a file, read from one column or from several that must agree.

    Where one column holds whole numbers and another names, the numbers are the indices and the names what they are
    called (under ``labels=names`` and ``labels=network`` the names alone are read). Columns of one kind must tell the
    same classes apart, and the first one is taken.
    """

    def __init__(self, titles: Sequence[str], rows: Iterable[Row], where: object) -> None:
        self._titles, self._where = titles, where
        distinct = sorted({row for row in rows if any(row)})
        # A column in which nobody wrote is none.
        self._read = [c for c in range(len(titles)) if any(row[c] for row in distinct)]
        self._rows = distinct

    def of(self, row: Row) -> str:
        """The label of a line in the column that decides; empty where none says anything."""
        return row[self._read[0]] if self._read and any(row) else ""

    def classes(self, kind: str, findings: Findings) -> tuple[dict[str, int], tuple[str, ...], bool]:
        """As ``class_indices``, of the labels that ``of`` gives.

        Raises:
            DatasetError: Columns contradict each other, or one says nothing where another does.
        """
        if not self._read or kind == "none":
            return class_indices({self.of(row) for row in self._rows}, kind, self._where, findings)
        for first, second in pairwise(self._read):
            self._agree(first, second)
        numbers = [c for c in self._read if all(whole(row[c]) is not None for row in self._rows)]
        words = [c for c in self._read if c not in numbers]
        decides = self._read[0]
        if not numbers or not words:
            return class_indices({row[decides] for row in self._rows}, kind, self._where, findings)
        chosen = words[0] if kind in ("names", "network") else numbers[0]
        index_of, names, known = class_indices({row[chosen] for row in self._rows}, kind, self._where, findings)
        if names and chosen == numbers[0]:
            called = {index_of[row[chosen]]: row[words[0]] for row in self._rows}
            names = tuple(called.get(i, name) for i, name in enumerate(names))
        return {row[decides]: index_of[row[chosen]] for row in self._rows}, names, known

    def _agree(self, first: int, second: int) -> None:
        """Raise where two columns tell different classes apart, or one is silent where the other is not."""
        for row in self._rows:
            if not (row[first] and row[second]):
                silent, says = (second, first) if row[first] else (first, second)
                raise DatasetError(
                    f"{self._where}: a line has nothing in the column {self._titles[silent]} and {row[says]} in "
                    f"{self._titles[says]}, and both say the class; fill it in, or rename the column"
                )
        for one, other in ((first, second), (second, first)):
            said: dict[object, set[object]] = {}
            for row in self._rows:
                said.setdefault(_value(row[one]), set()).add(_value(row[other]))
            torn = {word: found for word, found in said.items() if len(found) > 1}
            if torn:
                word, found = min(torn.items(), key=lambda pair: str(pair[0]))
                raise DatasetError(
                    f"{self._where}: the columns {self._titles[one]} and {self._titles[other]} both say the class and "
                    f"contradict each other: {self._titles[one]} {word} is {self._titles[other]} "
                    f"{some(sorted(map(str, found)))}; keep the column that is the label, and rename the other"
                )


def _value(text: str) -> object:
    """What a label says: ``007`` and ``7`` are one class."""
    number = whole(text)
    return text if number is None else number
