"""A CSV of boxes for the ``folder`` data set: one box on each line, several lines for an image."""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path

import numpy as np

from ...disk.textfiles import as_number, csv_rows, shorten
from ...findings import Findings, some
from ...schema import SPLITS, DatasetError, MissingSplitError, Split
from ...tables.build import Built
from .csv_columns import Columns, four_numbers, is_number
from .instances import Instances
from .label_columns import LabelColumns, Row
from .label_words import cleaned, label_space
from .own_table import OwnFile, OwnOptions, build_own
from .predicted import tell_scores

_SPLIT_WORDS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}
_GROUPED = re.compile(r"[1-9][0-9]{0,2}([.,][0-9]{3})+")
_LARGEST_GROUPED = 20_000
"""Pixels beyond which a number with three digits after a mark is no coordinate in the thousands."""
_NOTHING = ("", "nan", "null", "none")
"""What tools write where there is no number."""


_ABSENT = (*_NOTHING, "[]", "()")


def _whole(box: list[str]) -> list[str]:
    """The four numbers of a box in one field; none where the file has no boxes."""
    try:
        return four_numbers(box[0]) if box else []
    except ValueError:
        raise ValueError(f"{shorten(box[0])} (expected four numbers, such as '10 20 30 40', a box a line)") from None


class _Lines:
    """What the lines of one split say, line by line."""

    def __init__(self, path: Path, columns: Columns, split: Split, findings: Findings) -> None:
        self.path, self.columns, self.split, self.findings = path, columns, split, findings
        self.images: dict[str, int] = {}
        self.sizes: list[tuple[int, int]] = []
        self.owner: list[int] = []
        self.labels: list[Row] = []
        self.numbers: list[list[float]] = []
        self.every_label: set[Row] = set()
        self.splits: set[str] = set()
        self.unassigned: list[int] = []
        self.decimal, self.ambiguous = False, ""
        self.first: list[str] = []
        self.score_at, self.scores = columns.scores, set[float]()

    def read(self) -> None:
        """All records of the file; bad ones are findings with their line."""
        records = csv_rows(self.path, self.columns.separator)
        if self.columns.header:
            next(records, None)
        for line, fields in records:
            self._read(line, [f.strip() for f in fields])

    def _read(self, line: int, fields: list[str]) -> None:
        text = shorten(self.columns.separator.join(fields))
        if len(fields) != self.columns.count:
            self.findings.line(f"{text} has not {self.columns.count} fields", self.path, line, "truncated?")
            return
        get = {role: fields[i] for role, i in self.columns.place.items()}
        box = [fields[i] for i in self.columns.box]
        absent = all(f.lower() in _ABSENT for f in box)
        image, label = get["image"], tuple(cleaned(fields[i]) for i in self.columns.labels.values())
        self.first = self.first or fields
        if not image or (not any(label) and label and not (box and absent)):
            self.findings.line(f"{text} has no image or no label", self.path, line)
            return
        part = get.get("split", "").lower()
        part = _SPLIT_WORDS.get(part, part)
        self.splits.add(part)
        if any(label):
            self.every_label.add(label)
        if "split" in get and part != self.split:
            self.unassigned += [] if part else [line]
            return
        try:
            numbers = [] if absent else [self._number(f) for f in (box if len(box) > 1 else _whole(box))]
            size = self._side(get.get("width", "")), self._side(get.get("height", ""))
        except ValueError as error:
            fix = "write 1002, not 1,002, and 2.5, not 2,5" if "," in str(error) else ""
            self.findings.line(f"not a number, or a negative size: {error} in {text}", self.path, line, fix)
            return
        if self.score_at is not None and is_number(fields[self.score_at]):
            self.scores.add(float(fields[self.score_at]))
        self._keep(line, image, label, numbers, size if min(size) > 0 else (0, 0))

    def _keep(self, line: int, image: str, label: Row, numbers: list[float], size: tuple[int, int]) -> None:
        row = self.images.setdefault(image, len(self.images))
        if row == len(self.sizes):
            self.sizes.append(size)
        elif size != (0, 0) and self.sizes[row] not in ((0, 0), size):
            self.findings.line(f"{image} has another size than on an earlier line", self.path, line, "correct it")
        elif size != (0, 0):
            self.sizes[row] = size
        # A line without a box names the image only, where the file has boxes.
        if numbers or not self.columns.box:
            self.owner.append(row)
            self.labels.append(label)
            self.numbers.append(numbers or [float("nan")] * 4)

    def _number(self, text: str) -> float:
        # Spreadsheets that separate by semicolons may write decimal commas, or points between thousands.
        semicolons = self.columns.separator != ","
        if semicolons and ("," in text or "." in text):
            grouped = bool(_GROUPED.fullmatch(text))
            value = float(re.sub("[,.]", "", text)) if grouped else 0.0
            self.decimal |= not grouped or value > _LARGEST_GROUPED
            self.ambiguous = self.ambiguous or text
        try:
            value = as_number(text.replace(",", ".") if semicolons else text)
        except ValueError:
            raise ValueError(repr(text)) from None
        if not isfinite(value):
            raise ValueError(repr(text))
        return value

    def _side(self, text: str) -> int:
        if text.lower() in _NOTHING:
            return 0
        value = self._number(text)
        if value < 0 or value != int(value) or value >= 2**31:
            raise ValueError(repr(text))
        return int(value)


def build_csv(root: Path, path: Path, split: Split, columns: Columns, options: OwnOptions, labels: str) -> Built:
    """Rows of a CSV of boxes.

    Args:
        root: Folder that file names are relative to.
        path: The file. columns: Where its columns are.
        split: Rows of this split, where there is a column of splits; all are test otherwise.
        options: The user's choices. labels: Their kind (``label_words``).

    Raises:
        DatasetError: Labels that are none, a split that is not there.
    """
    findings = Findings()
    lines = _Lines(path, columns, split, findings)
    lines.read()
    if lines.ambiguous and not lines.decimal:
        findings.error(
            f"every number with a comma or point has three digits after it: is {lines.ambiguous!r} in the thousands, "
            "or of three decimals?",
            path,
            "write the numbers without marks between thousands, or with fewer or more decimals",
        )
    if columns.box and lines.score_at is not None:
        tell_scores(lines.scores, f"the column {columns.titles[lines.score_at]}", path, findings)
    if not columns.box:
        _tell_unread(path, columns, lines.first, findings)
    _check_split(path, split, lines.splits, in_header="split" in columns.place)
    if lines.unassigned:
        what = f"{len(lines.unassigned):,} lines name no split and are in none: line {some(lines.unassigned)}"
        findings.warn(what, path, "say train, val or test", len(lines.unassigned))
    said = LabelColumns(list(columns.labels), lines.every_label, path)
    index_of, names, known = said.classes(labels, findings)
    if not names and (labels != "none" or not lines.images):
        findings.raise_errors(f"folder {path.name}")
        raise DatasetError(f"{path}: no line with a label")
    inst = Instances(
        images=list(lines.images),
        sizes=np.array(lines.sizes, np.int64).reshape(-1, 2),
        owner=np.array(lines.owner, np.int64),
        labels=np.array([index_of.get(said.of(label), 0) for label in lines.labels], np.int64),
        numbers=np.array(lines.numbers, np.float64).reshape(-1, 4),
    )
    facts = {"num_classes_known": known, **label_space(labels, names)}
    file = OwnFile(path, inst, names, has_boxes=bool(columns.box), facts=facts)
    return build_own(root, file, options, findings)


def _tell_unread(path: Path, columns: Columns, first: list[str], findings: Findings) -> None:
    """A file without boxes has no localisation; numbers in columns of unknown names may well be boxes."""
    unread = [columns.titles[i] or f"column {i + 1}" for i in columns.unread]
    what = "no columns of boxes are known by their names: no localisation scores"
    rest = f"; not read: {some(unread)}" if unread else ""
    if first and sum(is_number(first[i]) for i in columns.unread) >= 4:
        findings.warn(
            what + rest, path, "if boxes are among them, say --option columns=image:label:x0:y0:x1:y1 in their order"
        )
    else:
        findings.note(what + rest, path)


def _check_split(path: Path, split: Split, found: set[str], *, in_header: bool) -> None:
    if not in_header and split != "test":
        raise MissingSplitError(f"folder: {path} has no column `split`, so all of it is test; there is no {split}")
    strange = sorted(found - {*SPLITS, ""})
    if in_header and strange:
        raise DatasetError(f"{path}: splits must be train, val or test; found {some(strange)}")
    if in_header and split not in found:
        raise MissingSplitError(f"folder: {path} has no row of split {split}")
