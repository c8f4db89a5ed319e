"""Reader of wsolevaluation's metadata (SEMANTICS §7): lists of ids, labels, sizes, boxes, masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...disk.textfiles import read_lines
from ...findings import Findings, some
from ...schema import DatasetError
from ...tables.rows import Chunk, Ints, group_boxes
from .wsol_columns import IDS, read_columns, read_ids, report_fields, report_unknown
from .wsol_names import Names

LARGEST = 2.0**31
"""No label and no side of a picture is as large."""
LABELS, SIZES, PLACES = "class_labels.txt", "image_sizes.txt", "localization.txt"


@dataclass
class Metadata:
    """One split. ``boxes``/``box_offsets`` or ``masks``/``ignores`` or neither; paths as in the files, by row."""

    ids: Names
    labels: Ints
    widths: Ints | None = None
    heights: Ints | None = None
    boxes: npt.NDArray[np.float64] | None = None
    box_offsets: Ints | None = None
    masks: list[list[str]] | None = None
    ignores: list[str | None] | None = None
    label_file: str = ""
    label_lines: Ints | None = None

    def rows(self, start: int, stop: int) -> Chunk:
        """Rows ``start`` … ``stop``, without the images' paths; masks as they are named in the files."""
        part = slice(start, stop)
        chunk = Chunk(ids=self.ids[part], paths=[], labels=self.labels[part], label_file=self.label_file)
        chunk.lines = None if self.label_lines is None else self.label_lines[part]
        if self.widths is not None and self.heights is not None:
            chunk.widths, chunk.heights = self.widths[part], self.heights[part]
        if self.boxes is not None and self.box_offsets is not None:
            offsets = self.box_offsets[start : stop + 1]
            chunk.boxes, chunk.box_offsets = self.boxes[offsets[0] : offsets[-1]], offsets - offsets[0]
        if self.masks is not None and self.ignores is not None:
            chunk.masks, chunk.ignores = self.masks[part], self.ignores[part]
        return chunk


def read_metadata(folder: Path, findings: Findings) -> Metadata:
    """The metadata of one split folder; problems go to ``findings`` with file and line.

    Raises:
        DatasetError: ``image_ids.txt`` or ``class_labels.txt`` is missing, empty or not UTF-8.
    """
    ids = _ids(folder / IDS, findings)
    labels, lines = _labels(folder / LABELS, ids, findings)
    meta = Metadata(ids, labels, label_file=str(folder / LABELS), label_lines=lines)
    if (folder / SIZES).is_file():
        sizes = read_columns(folder / SIZES, ids, 2, findings)
        if sizes is not None:
            _read_sizes(meta, folder / SIZES, *sizes, findings)
    if (folder / PLACES).is_file():
        _places(meta, folder / PLACES, findings)
    return meta


def _ids(path: Path, findings: Findings) -> Names:
    """The distinct ids in file order; repeated and blank lines are findings."""
    clean = read_ids(path)
    if clean is not None:
        return clean
    lines = read_lines(path)
    if not lines:
        raise DatasetError(f"{path}: the file is empty; expected one image path per line")
    ids = Names(lines)
    if "" in lines or ids.may_repeat():
        _report_duplicates(path, lines, findings)
        ids = Names(i for i in dict.fromkeys(lines) if i)
    return ids


def _report_duplicates(path: Path, ids: list[str], findings: Findings) -> None:
    first: dict[str, int] = {}
    for line, image_id in enumerate(ids, 1):
        if not image_id:
            findings.line("blank line", path, line, "remove it")
        elif image_id in first:
            findings.line(f"{image_id} is already on line {first[image_id]}", path, line, "remove the duplicate line")
        first.setdefault(image_id, line)


def _labels(path: Path, ids: Names, findings: Findings) -> tuple[Ints, Ints]:
    found = read_columns(path, ids, 1, findings)
    labels = np.zeros(len(ids), np.int64)
    if found is None:
        raise DatasetError(f"{path}: the file is empty; expected `path,label` per line")
    rows, values, lines = found
    # What is no number, or too large for one of pixels and classes, is told and never cast.
    whole = (np.abs(values[:, 0]) < LARGEST) & (np.floor(values[:, 0]) == values[:, 0])
    for i in np.flatnonzero(~whole):
        findings.line(f"label {values[i, 0]} is not a whole number", path, int(lines[i]))
    labels[rows] = np.where(whole, values[:, 0], 0).astype(np.int64)
    line_of = np.zeros(len(ids), np.int64)
    line_of[rows] = lines
    _once(path, rows, values, lines, ids, findings)
    return labels, line_of


def _read_sizes(
    meta: Metadata, path: Path, rows: Ints, values: npt.NDArray[np.float64], lines: Ints, findings: Findings
) -> None:
    bad = ~np.asarray(((values >= 1) & (values < LARGEST)).all(1))
    for i in np.flatnonzero(bad):
        findings.line(f"image size {values[i].tolist()} is not positive, or of no picture", path, int(lines[i]))
    _once(path, rows, values, lines, meta.ids, findings)
    meta.widths, meta.heights = np.zeros(len(meta.ids), np.int64), np.zeros(len(meta.ids), np.int64)
    meta.widths[rows], meta.heights[rows] = np.where(bad[:, None], 0, values).astype(np.int64).T


def _once(
    path: Path,
    rows: Ints,
    values: npt.NDArray[np.float64],
    lines: Ints,
    names: Names,
    findings: Findings,
) -> None:
    """Every id has exactly one line: a missing one is an error; a repeated one is, unless it says the same."""
    counts = np.bincount(rows, minlength=len(names))
    absent = np.flatnonzero(counts == 0)
    if absent.size:
        findings.error(
            f"{absent.size:,} ids of {IDS} have no line here: {some([names[i] for i in absent[:6]], absent.size)}",
            path,
            "is the file truncated, or of another split?",
            int(absent.size),
        )
    for row in np.flatnonzero(counts > 1)[:5]:
        hits = np.flatnonzero(rows == row)
        where = f"{path}:{lines[hits[1]]}"
        if (values[hits] == values[hits[0]]).all():
            findings.warn(f"{names[row]} repeats line {lines[hits[0]]}", where)
        else:
            findings.error(f"{names[row]} contradicts line {lines[hits[0]]}", where, "keep the right one of the two")


def _places(meta: Metadata, path: Path, findings: Findings) -> None:
    with path.open("rb") as file:
        first = file.readline()
    if first.count(b",") == 2:
        _masks(meta, path, read_lines(path), findings)
        return
    found = read_columns(path, meta.ids, 4, findings)
    if found is None:
        return
    rows, values, _ = found
    # Boxes of a published set lie in pixels; all of them within one are fractions.
    if values.max() <= 1.001 and values.min() >= 0 and (values % 1).any():
        findings.error(
            f"all coordinates lie between 0 and 1: fractions of the picture, not pixels: {values[0].tolist()}",
            path,
            "multiply them by the width and height of image_sizes.txt",
            len(values),
        )
    meta.boxes, meta.box_offsets = group_boxes(rows, values, len(meta.ids))
    _report_without(meta, np.diff(meta.box_offsets) == 0, "box", path, findings)


def _masks(meta: Metadata, path: Path, lines: list[str], findings: Findings) -> None:
    masks: list[list[str]] = [[] for _ in meta.ids]
    ignores: list[str | None] = [None] * len(meta.ids)
    unknown: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        fields = line.split(",")
        if len(fields) != 3:
            report_fields(path, number, line, "path,mask.png,ignore.png", findings)
            continue
        row = meta.ids.row_of.get(fields[0])
        if row is None:
            unknown.append((number, fields[0]))
            continue
        if fields[1] in masks[row]:
            findings.line(f"{fields[1]} is listed twice", path, number, level="warning")
            continue
        masks[row].append(fields[1])
        if fields[2]:
            ignores[row] = ignores[row] or fields[2]
    report_unknown(path, unknown, findings)
    meta.masks, meta.ignores = masks, ignores
    _report_without(meta, np.array([not m for m in masks]), "mask", path, findings)


def _report_without(meta: Metadata, none: npt.NDArray[np.bool_], kind: str, path: Path, findings: Findings) -> None:
    rows = np.flatnonzero(none)
    if rows.size:
        findings.error(
            f"{rows.size:,} images have no {kind}: {some([meta.ids[i] for i in rows[:6]], rows.size)}",
            path,
            "is the file truncated, or of another split?",
            int(rows.size),
        )
