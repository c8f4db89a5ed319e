"""Stanford Cars as Kaggle's copies have it: a folder a class, with boxes in anno_*.csv or without."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....opener import is_picture
from ...disk.files import FileIndex
from ...disk.textfiles import csv_rows, shorten
from ...findings import Findings, some
from ...schema import DatasetError, Split
from ...tables.build import Built
from ...tables.checks import LeftOut
from .devkit import class_names
from .entries import Listing, build_rows

_FOLDERS = ("car_data/car_data", "car_data", "")


def build_csv(base: Path, part: str, split: Split, options: Mapping[str, Any]) -> Built:
    """Rows of `anno_*.csv` (fname,x1,y1,x2,y2,class) with images in one folder a class."""
    path, names_file = base / f"anno_{part}.csv", base / "names.csv"
    findings = Findings()
    if not names_file.is_file():
        raise DatasetError(f"stanford_cars: {names_file} is missing: it names the 196 classes")
    names = _names(names_file)
    ids, labels, boxes, lines = [], [], [], []
    for line, row in csv_rows(path):
        try:
            name, *numbers = row
            box, label = [float(v) for v in numbers[:4]], int(numbers[4])
            if not np.isfinite(box).all() or abs(label) > 1e9:
                raise ValueError
        except (ValueError, IndexError):
            what = f"{shorten(','.join(row))} is not `fname,x1,y1,x2,y2,class`"
            findings.line(what, path, line, "is it truncated?")
            continue
        ids.append(name)
        labels.append(label - 1)
        boxes.append(box)
        lines.append(line)
    # A class name with a slash ("Ram C/V Cargo Van") lies in a folder without it.
    files = [f"{names[k].replace('/', '')}/{i}" if 0 <= k < len(names) else i for i, k in zip(ids, labels, strict=True)]
    listing = Listing(
        folder=class_folders(base, part) or base / _FOLDERS[0] / part,
        ids=ids,
        files=files,
        labels=np.array(labels, np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        names=names,
        place=path,
        lines=np.array(lines, np.int64),
        names_file=names_file,
    )
    return build_rows(listing, split, options, findings)


def build_folders(
    base: Path, folder: Path, names_file: Path | None, part: str, split: Split, options: Mapping[str, Any]
) -> Built:
    """Rows of the folders alone: no boxes. Cars' classes are not in alphabetical order, so their list is needed."""
    if names_file is None:
        raise DatasetError(
            f"stanford_cars: {folder} has a folder a class, but {base} has neither anno_{part}.csv (labels and boxes) "
            "nor names.csv or cars_meta.mat (the order of the classes): put them there, or take data set folder, whose "
            "labels are ranks of the folders' names"
        )
    findings, index = Findings(), FileIndex()
    names = _names(names_file) if names_file.suffix == ".csv" else class_names(names_file)
    label_of = {_letters(name): label for label, name in enumerate(names)}
    if len(label_of) < len(names):
        findings.error("class names that differ in punctuation only cannot be told apart by folders", names_file)
    folders = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    strange = [f for f in folders if _letters(f) not in label_of]
    if strange:
        what = f"{len(strange)} folders are no classes of {names_file.name}: {some(strange)}"
        findings.error(what, folder, count=len(strange))
    findings.note(f"no anno_{part}.csv: no boxes, localisation metrics need them", base)
    files = [
        (label_of[_letters(f)], f"{f}/{name}")
        for f in folders
        if f not in strange
        for name in sorted(index.listing(f"{folder}/{f}"))
        if is_picture(name)
    ]
    left_out = LeftOut()
    for name in folders:
        left_out.add(f"{name}/{n}" for n in index.folder(f"{folder}/{name}"))
    left_out.report(folder, findings)
    files.sort(key=lambda pair: pair[1].rpartition("/")[2])
    listing = Listing(
        folder=folder,
        ids=[name.rpartition("/")[2] for _, name in files],
        files=[name for _, name in files],
        labels=np.array([label for label, _ in files], np.int64),
        boxes=None,
        names=names,
        place=folder,
        lines=None,
        names_file=names_file,
    )
    return build_rows(listing, split, options, findings)


def class_folders(base: Path, part: str) -> Path | None:
    """The folder with a folder a class, where there is one."""
    found = (base / f / part for f in _FOLDERS)
    return next((p for p in found if p.is_dir() and any(c.is_dir() for c in p.iterdir())), None)


def _names(path: Path) -> tuple[str, ...]:
    return tuple(row[0] for _, row in csv_rows(path))


def _letters(name: str) -> str:
    """A class name without what copies spell differently (``Ram C/V``, ``Ram C-V``)."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
