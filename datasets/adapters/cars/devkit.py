"""Stanford Cars' MATLAB annotations: the devkit's, one file a part, and cars_annos.mat of both parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ...disk.matfiles import read_mat
from ...findings import Findings
from ...schema import DatasetError, Split
from ...tables.build import Built
from .entries import Listing, build_rows, first_folder

_BOX = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
Floats = npt.NDArray[np.float64]


def build_devkit(
    base: Path, annotations: Path, meta: Path, part: str, split: Split, options: Mapping[str, Any]
) -> Built:
    """Rows of ``cars_train_annos.mat`` or ``cars_test_annos_withlabels.mat``; boxes 1-based, inclusive."""
    findings = Findings()
    names = class_names(meta)
    table = _table(annotations, (*_BOX, "class", "fname"))
    folder = first_folder(base, [f"cars_{part}", f"cars_{part}/cars_{part}", part])
    listing = _listing(table, np.arange(len(table)), "fname", folder, names, annotations, meta, findings)
    return build_rows(listing, split, options, findings)


def build_combined(base: Path, annotations: Path, part: str, split: Split, options: Mapping[str, Any]) -> Built:
    """Rows of ``cars_annos.mat``, whose field ``test`` is the official split; images in ``car_ims/``."""
    findings = Findings()
    table = _table(annotations, (*_BOX, "class", "relative_im_path", "test"))
    test = _numbers(table, "test", np.arange(len(table)), annotations, findings)
    rows = np.flatnonzero(test == (part == "test"))
    folder = first_folder(base, ["car_ims", "car_ims/car_ims"])
    names = class_names(annotations)
    listing = _listing(table, rows, "relative_im_path", folder, names, annotations, annotations, findings)
    others = np.setdiff1d(np.arange(len(table)), rows)
    listing = replace(listing, other_files=tuple(_files(table, "relative_im_path", others)))
    return build_rows(listing, split, options, findings)


def class_names(meta: Path) -> tuple[str, ...]:
    """Class names by index; ``DatasetError`` where the file has none."""
    names = read_mat(meta.read_bytes(), str(meta)).get("class_names")
    if names is None:
        raise DatasetError(f"{meta}: no `class_names` in it")
    return tuple(map(str, np.atleast_1d(names)))


def _table(path: Path, fields: Sequence[str]) -> npt.NDArray[Any]:
    table = read_mat(path.read_bytes(), str(path)).get("annotations")
    if table is None:
        raise DatasetError(f"{path}: no `annotations` in it")
    table = np.atleast_1d(table)
    absent = [f for f in fields if f not in (table.dtype.names or ())]
    if absent:
        raise DatasetError(f"{path}: the annotations have no field {', '.join(absent)} (labels withheld?)")
    return table


def _listing(
    table: npt.NDArray[Any],
    rows: npt.NDArray[np.int64],
    names_field: str,
    folder: Path,
    names: tuple[str, ...],
    annotations: Path,
    meta: Path,
    findings: Findings,
) -> Listing:
    labels = _numbers(table, "class", rows, annotations, findings, whole=True)
    boxes = np.stack([_numbers(table, f, rows, annotations, findings) for f in _BOX], 1)
    files = _files(table, names_field, rows)
    return Listing(
        folder, files, files, labels.astype(np.int64) - 1, boxes, names, annotations, rows + 1, names_file=meta
    )


def _files(table: npt.NDArray[Any], field: str, rows: npt.NDArray[np.int64]) -> list[str]:
    return [PurePosixPath(str(n)).name for n in table[field][rows]]


def _numbers(
    table: npt.NDArray[Any],
    field: str,
    rows: npt.NDArray[np.int64],
    path: Path,
    findings: Findings,
    *,
    whole: bool = False,
) -> Floats:
    """A field (N,) as numbers; anything else is a finding, with its row, and 1."""
    values = np.ones(len(rows))
    for at, row in enumerate(rows):
        value = table[field][row]
        try:
            number = float(value)
            if not np.isfinite(number) or (whole and (number % 1 or abs(number) > 1e9)):
                raise ValueError
        except (TypeError, ValueError):
            kind = "a whole number" if whole else "a number"
            findings.line(f"`{field}` is {str(value)[:40]!r}, not {kind}", path, int(row) + 1)
        else:
            values[at] = number
    return values
