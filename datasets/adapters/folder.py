"""`folder`: people's own images, with a CSV of boxes, a COCO JSON, or only one folder a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from ...opener import is_picture
from ..disk.locate import resembling
from ..disk.textfiles import csv_rows, shorten
from ..disk.trees import FolderTree
from ..findings import Findings, MissingSplitError, OptionError, some
from ..schema import SPLITS, DatasetError, DatasetSpec, Split, register_dataset
from ..tables.build import Adapter, Built, Plan
from ..tables.checks import LeftOut, check_class_count
from ..tables.headers import add_sizes
from ..tables.rows import Chunk, group_boxes

OPTIONS = {
    "annotations": "CSV (image,label,x0,y0,x1,y1; maybe width,height,split) or COCO JSON, one file a split as in "
    "instances_{split}.json; default: one folder a class",
    "images": "COCO: folder of the images below the root, as in {split}2017 (default: the root)",
    "label": "COCO: unique (default: several categories in an image are an error) or largest (annotation)",
}
_NEEDED, _BOX = ("image", "label"), ("x0", "y0", "x1", "y1")


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> Plan:
    """Choose the reader by the annotation file's suffix."""
    if not root.is_dir():
        raise DatasetError(f"folder: {root} is not a folder")
    named = options.get("annotations")
    if named is None:
        return Plan("class folders", lambda: build_folders(root, split))
    by_split = "{split}" in str(named)
    path = Path(str(named).replace("{split}", split)).expanduser()
    path = path if path.is_file() or path.is_absolute() else root / path
    if not path.is_file():
        kind = MissingSplitError if by_split else DatasetError
        raise kind(f"folder: annotations={named}: no such file {path.name}, neither here nor in {root}")
    if path.suffix.lower() == ".json":
        from ..formats.coco import build_coco

        if split != "test" and not by_split:
            raise MissingSplitError(
                f"folder: a COCO file has no splits, so all of {path.name} is test; with a file a split, pass "
                "annotations='instances_{split}.json'"
            )
        images = root / str(options.get("images", "")).replace("{split}", split)
        return Plan("COCO JSON", lambda: build_coco(images, path, str(options.get("label", "unique"))), (path,))
    if by_split:
        raise OptionError("folder: {split} is for COCO JSON, which lists every category; a CSV has a column `split`")
    return Plan("CSV of boxes", lambda: build_csv(root, path, split), (path,))


def build_csv(root: Path, path: Path, split: Split) -> Built:
    """One box per line, several lines per image; class indices are ranks of the distinct labels in the whole file."""
    findings = Findings()
    records = csv_rows(path)
    header = next(records, (1, []))[1]
    _check_header(path, header)
    has_boxes = "x0" in header
    rows: list[tuple[str, str, list[float], tuple[int, int]]] = []
    every_label: set[str] = set()
    splits: set[str] = set()
    for line, fields in records:
        text = shorten(",".join(fields))
        if len(fields) != len(header):
            findings.line(f"{text} has not {len(header)} fields", path, line, "truncated?")
            continue
        row = dict(zip(header, fields, strict=True))
        if not row["image"] or not row["label"]:
            findings.line(f"{text} has no image or no label", path, line)
            continue
        every_label.add(row["label"])
        splits.add(row.get("split", ""))
        if "split" in header and row["split"] != split:
            continue
        try:
            box = [float(row[c]) for c in _BOX] if has_boxes and row["x0"] != "" else []
            size = int(row.get("width") or 0), int(row.get("height") or 0)
            if not all(isfinite(v) for v in box) or min(size) < 0:
                raise ValueError
        except ValueError:
            findings.line(f"not a number, or a negative size, in {text}", path, line)
            continue
        rows.append((row["image"], row["label"], box, size))
    _check_split(path, split, splits, in_header="split" in header)
    names = _class_names(every_label, path)
    return _built(root, path, rows, names, has_boxes, findings)


def _check_header(path: Path, header: list[str]) -> None:
    absent = [c for c in _NEEDED if c not in header]
    partial = [c for c in _BOX if c not in header]
    if absent or 0 < len(partial) < 4:
        raise DatasetError(
            f"{path}:1: columns {', '.join(absent + (partial if len(partial) < 4 else []))} are missing; expected "
            f"image,label and x0,y0,x1,y1 (optional width,height,split), found {', '.join(header) or 'nothing'}"
        )
    if len(set(header)) < len(header):
        raise DatasetError(f"{path}:1: a column occurs twice: {', '.join(header)}")


def _check_split(path: Path, split: Split, found: set[str], *, in_header: bool) -> None:
    if not in_header and split != "test":
        raise MissingSplitError(f"folder: {path} has no column `split`, so all of it is test; there is no {split}")
    strange = sorted(found - {*SPLITS, ""})
    if in_header and strange:
        raise DatasetError(f"{path}: splits must be train, val or test; found {some(strange)}")
    if in_header and split not in found:
        raise MissingSplitError(f"folder: {path} has no row of split {split}")


def _class_names(labels: set[str], path: Path) -> tuple[str, ...]:
    """Names by index: whole numbers are the indices themselves, other labels are ranked."""
    if labels and all(x.isdecimal() for x in labels):
        check_class_count(max(map(int, labels)) + 1, path)
        return tuple(str(i) for i in range(max(map(int, labels)) + 1))
    return tuple(sorted(labels))


def _built(
    root: Path,
    path: Path,
    rows: list[tuple[str, str, list[float], tuple[int, int]]],
    names: tuple[str, ...],
    has_boxes: bool,
    findings: Findings,
) -> Built:
    index_of = {n: i for i, n in enumerate(names)}
    row_of: dict[str, int] = {}
    labels: list[int] = []
    sizes: list[tuple[int, int]] = []
    owner: list[int] = []
    boxes: list[list[float]] = []
    for image, label, box, size in rows:
        if image not in row_of:
            row_of[image] = len(labels)
            labels.append(index_of[label])
            sizes.append(size)
        elif labels[row_of[image]] != index_of[label]:
            findings.error(f"{image} has the labels {names[labels[row_of[image]]]!r} and {label!r}", path)
        if box:
            owner.append(row_of[image])
            boxes.append(box)
    tree = FolderTree(root)
    ids = list(row_of)

    def chunks() -> Iterator[Chunk]:
        grouped = group_boxes(np.array(owner, np.int64), np.array(boxes, np.float64).reshape(-1, 4), len(ids))
        chunk = Chunk(ids, tree.paths(ids), np.array(labels, np.int64), sizes=tree.sizes(ids))
        if has_boxes:
            chunk.boxes, chunk.box_offsets = grouped
            without = [i for i, n in zip(ids, chunk.box_counts(), strict=True) if n == 0]
            if without:
                findings.error(f"{len(without):,} images have no box: {some(without)}", path, count=len(without))
        known = np.array(sizes, np.int64).reshape(-1, 2)
        if known.size and (known > 0).all():
            chunk.widths, chunk.heights = known[:, 0], known[:, 1]
        else:
            add_sizes(chunk)
        yield chunk

    # Whole-number labels leave open how many classes there are.
    facts = {"num_classes_known": not all(n.isdecimal() for n in names)}
    return Built(names, chunks(), findings, facts, tree.folders, has_boxes)


def build_folders(root: Path, split: Split) -> Built:
    """ROOT/split/class/image where split folders exist, else ROOT/class/image as test; no boxes."""
    findings = Findings()
    have = [s for s in SPLITS if (root / s).is_dir()]
    if (have and split not in have) or (not have and split != "test"):
        raise MissingSplitError(f"folder: {root} has no {split}/ folder" + ("" if have else ", so all of it is test"))
    base = root / split if have else root
    hint = _hint(root)
    tops = [root / s for s in have] or [root]
    names = tuple(sorted({p.name for top in tops for p in top.iterdir() if p.is_dir() and not p.name.startswith(".")}))
    if not names:
        other = f"; or {hint}" if hint else ""
        raise DatasetError(f"folder: {base} has no class folders; pass annotations=FILE (CSV or COCO JSON){other}")
    if hint:
        findings.warn(
            "this looks like a published data set; its folders are taken for classes here",
            root,
            f"{hint}; nothing is wrong if the classes are your own",
        )
    tree = FolderTree(base)
    findings.note("no boxes and no masks: localisation metrics need annotations=FILE (CSV or COCO JSON)")
    lost = [p.name for p in base.iterdir() if p.is_symlink() and not p.exists()]
    if lost:
        findings.warn(f"{len(lost)} symbolic links lead nowhere, or to themselves: {some(lost)}", base, "repair them")

    def chunks() -> Iterator[Chunk]:
        empty, left_out = [], LeftOut()
        for label, name in enumerate(names):
            found = list(tree.children(name))
            files = sorted(f"{name}/{n}" for n in found if is_picture(n))
            left_out.add(f"{name}/{n}" for n in found)
            empty += [] if files else [name]
            yield Chunk(files, tree.paths(files), np.full(len(files), label), sizes=tree.sizes(files))
        left_out.report(base, findings)
        if empty:
            findings.warn(f"{len(empty)} classes have no image here: {some(empty)}", base, count=len(empty))

    return Built(names, chunks(), findings, watched=lambda: [base, *tree.folders()])


def _hint(root: Path) -> str:
    """Which data set's adapter would know more of this folder; empty where it looks like the user's own."""
    from . import cub, openimages, tiny_imagenet
    from .cars import cars
    from .imagenet import distribution as imagenet_layout

    for known in (cub, cars, tiny_imagenet, openimages, imagenet_layout):
        base = resembling(root, known.EXPECTED)
        if base is not None:
            return f"take {known.EXPECTED.name} with --root {base}, which knows labels, splits and annotations"
    return ""


ADAPTER = Adapter("folder", 1, plan, OPTIONS)
SPEC = register_dataset(
    DatasetSpec(
        name="folder",
        load=ADAPTER.load,
        title="your own images",
        source="a folder with a CSV of boxes, COCO JSON, or class folders",
        licence="the images' own",
        options=ADAPTER.all_options,
        metrics=("boxes",),
    )
)
