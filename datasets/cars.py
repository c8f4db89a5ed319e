"""`stanford_cars`: torchvision's layout (devkit .mat files), or the plain Kaggle folders with CSV (SEMANTICS §7)."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .adapter import Adapter, Built, Plan
from .checks import check_listed
from .findings import Findings
from .headers import add_sizes
from .locate import Expected, find_base
from .matfiles import read_mat
from .rows import Chunk, Ints
from .schema import DatasetError, DatasetSpec, Split, register_dataset
from .splits import HOLDOUT_OPTIONS, HoldOut
from .textfiles import read_lines
from .trees import FolderTree

CLASSES = 196
COUNTS = {"train": 8144, "test": 8041}
EXPECTED = Expected(
    name="stanford_cars",
    markers=(
        *("devkit", "car_devkit", "car_devkit/devkit", "cars_train", "cars_test"),
        *("anno_train.csv", "cars_meta.mat"),
    ),
    nested=("stanford_cars", "stanford-cars", "cars"),
    what="Stanford Cars (cars_train/, cars_test/, devkit/, or Kaggle's car_data/ with anno_train.csv)",
    signs=("cars_train", "cars_test", "car_devkit", "anno_train.csv", "cars_meta.mat"),
)
_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
_OFFICIAL = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> Plan:
    """Find the annotations: the devkit's .mat files, else Kaggle's CSV files."""
    base = find_base(root, EXPECTED)
    part = "test" if split == "test" else "train"
    if (base / f"anno_{part}.csv").is_file():
        files = tuple(base / n for n in (f"anno_{part}.csv", "names.csv") if (base / n).is_file())
        return Plan("Kaggle folders", lambda: build_csv(base, part, split, options), files)
    annotations = _first(base, [f"{d}{_OFFICIAL[part]}" for d in ("devkit/", "car_devkit/devkit/", "car_devkit/", "")])
    meta = _first(base, [f"{d}cars_meta.mat" for d in ("devkit/", "car_devkit/devkit/", "car_devkit/", "")])
    if annotations is None or meta is None:
        absent = _OFFICIAL[part] if annotations is None else "cars_meta.mat"
        place = base if absent == _OFFICIAL["test"] else base / "devkit"
        more = " (the devkit's cars_test_annos.mat has no labels)" if part == "test" and annotations is None else ""
        raise DatasetError(f"stanford_cars: {split} needs {place / absent}{more}; it is not there")
    return Plan(
        "torchvision layout", lambda: build_mat(base, annotations, meta, part, split, options), (annotations, meta)
    )


def _first(base: Path, names: Sequence[str]) -> Path | None:
    return next((base / n for n in names if (base / n).is_file()), None)


def build_mat(base: Path, annotations: Path, meta: Path, part: str, split: Split, options: Mapping[str, Any]) -> Built:
    """Rows of the devkit's annotations; boxes as published (1-based, inclusive)."""
    names = read_mat(meta.read_bytes(), str(meta)).get("class_names")
    table = read_mat(annotations.read_bytes(), str(annotations)).get("annotations")
    if names is None or table is None:
        raise DatasetError(f"{meta if names is None else annotations}: no `class_names`/`annotations` in it")
    table = np.atleast_1d(table)
    absent = [f for f in _FIELDS if f not in (table.dtype.names or ())]
    if absent:
        raise DatasetError(f"{annotations}: the annotations have no field {', '.join(absent)} (labels withheld?)")
    images = _first_folder(base, [f"cars_{part}", f"cars_{part}/cars_{part}", part])
    columns = {f: table[f] for f in _FIELDS}
    boxes = np.stack([columns[f].astype(np.float64) for f in _FIELDS[:4]], 1)
    labels = columns["class"].astype(np.int64) - 1
    ids = [str(n) for n in columns["fname"]]
    return _built(
        images, ids, ids, labels, boxes, tuple(map(str, np.atleast_1d(names))), split, options,
        label_file=str(annotations), names_file=meta, lines=np.arange(1, len(ids) + 1),
    )  # fmt: skip


def _first_folder(base: Path, names: Sequence[str]) -> Path:
    """The folder that holds images; the first name where none does (its images are then reported missing)."""
    for name in names:
        folder = base / name
        if folder.is_dir() and any(p.suffix.lower() == ".jpg" for p in folder.iterdir()):
            return folder
    return base / names[0]


def build_csv(base: Path, part: str, split: Split, options: Mapping[str, Any]) -> Built:
    """Rows of Kaggle's `anno_*.csv` (fname,x1,y1,x2,y2,class) with images in one folder a class."""
    path = base / f"anno_{part}.csv"
    findings = Findings()
    if not (base / "names.csv").is_file():
        raise DatasetError(f"stanford_cars: {base / 'names.csv'} is missing: it names the 196 classes")
    names = [r[0] for r in csv.reader(read_lines(base / "names.csv")) if r]
    ids, labels, boxes, lines = [], [], [], []
    for line, row in enumerate(csv.reader(read_lines(path)), 1):
        try:
            name, *numbers = row
            box, label = [float(v) for v in numbers[:4]], int(numbers[4])
            if not np.isfinite(box).all():
                raise ValueError
        except (ValueError, IndexError):
            findings.error(f"{','.join(row)!r} is not `fname,x1,y1,x2,y2,class`", f"{path}:{line}", "is it truncated?")
            continue
        ids.append(name)
        labels.append(label - 1)
        boxes.append(box)
        lines.append(line)
    images = _first_folder_deep(base, part)
    # A class name with a slash ("Ram C/V Cargo Van") lies in a folder without it.
    files = [f"{names[k].replace('/', '')}/{i}" if 0 <= k < len(names) else i for i, k in zip(ids, labels, strict=True)]
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return _built(
        images, ids, files, np.array(labels, np.int64), array, tuple(names), split, options, findings,
        label_file=str(path), names_file=base / "names.csv", lines=np.array(lines, np.int64),
    )  # fmt: skip


def _first_folder_deep(base: Path, part: str) -> Path:
    names = (f"car_data/car_data/{part}", f"car_data/{part}", part)
    return next((base / n for n in names if (base / n).is_dir()), base / names[0])


def _built(
    images: Path,
    ids: list[str],
    files: list[str],
    labels: np.ndarray[Any, np.dtype[np.int64]],
    boxes: np.ndarray[Any, np.dtype[np.float64]],
    names: tuple[str, ...],
    split: Split,
    options: Mapping[str, Any],
    findings: Findings | None = None,
    *,
    label_file: str,
    names_file: Path,
    lines: Ints,
) -> Built:
    findings = findings or Findings()
    tree = FolderTree(images)
    hold = HoldOut(split, options, findings, "Stanford Cars has no published val")

    check_listed(tree.index, tree.paths(files), label_file, findings)

    def chunks() -> Iterator[Chunk]:
        chunk = Chunk(
            ids, tree.paths(files), labels, boxes=boxes, box_offsets=np.arange(len(ids) + 1), sizes=tree.sizes(files),
            lines=lines, label_file=label_file,
        )  # fmt: skip
        if split != "test":
            chunk = hold.apply(chunk)
            hold.report()
        add_sizes(chunk)
        yield chunk

    if len(names) != CLASSES:
        findings.warn(f"{len(names)} class names, published are {CLASSES}", names_file, "is the file truncated?")
    return Built(_distinct(names), chunks(), findings, watched=tree.folders, has_boxes=True)


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    seen: set[str] = set()
    distinct = []
    for index, name in enumerate(names):
        distinct.append(name if name not in seen else f"{name} ({index})")
        seen.add(name)
    return tuple(distinct)


ADAPTER = Adapter("stanford_cars", 1, plan, HOLDOUT_OPTIONS)
SPEC = register_dataset(
    DatasetSpec(
        name="stanford_cars",
        load=ADAPTER.load,
        title="Stanford Cars",
        source="Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR 2013",
        licence="non-commercial research (ImageNet's terms)",
        citation="@inproceedings{krause2013cars, title={3D Object Representations for Fine-Grained Categorization}, "
        "author={Krause, J. and Stark, M. and Deng, J. and Fei-Fei, L.}, booktitle={3dRR}, year={2013}}",
        counts=COUNTS,
        num_classes=CLASSES,
        options=ADAPTER.all_options,
        metrics=("boxes",),
    )
)
