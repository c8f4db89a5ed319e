"""`folder`: people's own images, with a CSV of boxes, COCO JSON, VOC or YOLO files, or only one folder a class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...home import expanded
from ...opener import is_picture
from ..disk.class_folders import Depths, folders_in, split_folders, tell_stray
from ..disk.locate import resembling_set
from ..disk.trees import FolderTree
from ..findings import Findings, OptionError, some
from ..formats.own.box_forms import BOX_OPTION
from ..formats.own.coco import MASK_OPTION, READING, build_coco
from ..formats.own.csv_boxes import build_csv
from ..formats.own.csv_columns import COLUMNS_OPTION, find_columns
from ..formats.own.exif import EXIF_OPTION, settle_exif
from ..formats.own.instances import RULE_OPTIONS
from ..formats.own.label_files import KINDS, class_files, folders_below, label_kind
from ..formats.own.label_words import (
    LABEL_OPTION,
    check_kind,
    class_indices,
    cleaned,
    label_space,
    tell_alike,
    whole,
)
from ..formats.own.own_table import OwnOptions
from ..formats.own.voc_boxes import VOC_READING, build_voc
from ..formats.own.yolo_boxes import YOLO_READING, build_yolo
from ..schema import DatasetError, DatasetSpec, MissingSplitError, Split, register_dataset
from ..tables.build import Adapter, BuildPlan, Built
from ..tables.checks import LeftOut
from ..tables.headers import read_headers
from ..tables.rows import Chunk

OPTIONS = {
    "annotations": "CSV (image,label,x0,y0,x1,y1 or the names that other tools use; maybe width,height,split) or COCO "
    "JSON, one file a split as in instances_{split}.json, or a folder of PASCAL VOC .xml or YOLO .txt files, one an "
    "image, as in labels/{split}; default: one folder a class",
    "images": "COCO, VOC, YOLO: folder of the images below the root, as in {split}2017 (default: the root)",
    "columns": COLUMNS_OPTION,
    "labels": LABEL_OPTION,
    **RULE_OPTIONS,
    "boxes": BOX_OPTION,
    "masks": MASK_OPTION,
    "exif": EXIF_OPTION,
}


_PICTURES = {"images", "image", "imgs", "img", "jpegimages", "photos", "pictures"}
_NO_PICTURES = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "groundtruth", "ground_truth", "gt"),
    *("segmentation", "segmentations", "segmentationclass", "segmentationobject", "bboxes", "boxes"),
}
"""Folders that people have beside ``images``; as classes they make no sense together."""


def plan(root: Path, split: Split, options: Mapping[str, Any]) -> BuildPlan:
    """Choose the reader by the annotation file's suffix."""
    if not root.is_dir():
        raise DatasetError(f"folder: {root} is not a folder")
    labels, masks = check_kind(options.get("labels")), str(options.get("masks", "auto"))
    if masks not in ("auto", "off"):
        raise OptionError(f"folder: masks={masks}; choose auto or off")
    # Words that are no choice are refused before anything is read.
    chosen = OwnOptions.of(options, READING)
    named = options.get("annotations")
    if named is None:
        return BuildPlan("class folders", lambda: build_folders(root, split, labels, chosen.exif))
    by_split = "{split}" in str(named)
    path = expanded(str(named).replace("{split}", split))
    path = _given_place(path, root)
    if path.is_dir():
        return _plan_label_files(root, path, split, options, by_split)
    if not path.is_file():
        kind = MissingSplitError if by_split else DatasetError
        raise kind(f"folder: annotations={named}: no such file {path.name}, neither here nor in {root}")
    if path.suffix.lower() == ".json":
        if split != "test" and not by_split:
            raise MissingSplitError(
                f"folder: a COCO file has no splits, so all of {path.name} is test; with one file for each split, pass "
                "annotations='instances_{split}.json'"
            )
        images = root / str(options.get("images", "")).replace("{split}", split)
        return BuildPlan("COCO JSON", lambda: build_coco(images, path, chosen, labels, masks), (path,))
    if by_split:
        raise OptionError("folder: {split} is for COCO JSON, which lists every category; a CSV has a column `split`")

    def build() -> Built:
        columns = find_columns(path, options.get("columns"), needs_label=labels != "none")
        return build_csv(root, path, split, columns, OwnOptions.of(options, columns.reading), labels)

    return BuildPlan("CSV of boxes", build, (path,))


def _given_place(path: Path, root: Path) -> Path:
    """A path that is relative to where the user is, or to the root; OptionError where both places have one."""
    if path.is_absolute() or not path.exists():
        return root / path
    other = root / path
    if other.exists() and not other.samefile(path):
        raise OptionError(
            f"folder: annotations={path}: it is there twice, as {path.absolute()} and {other}; give the whole path"
        )
    return path


def _plan_label_files(root: Path, folder: Path, split: Split, options: Mapping[str, Any], by_split: bool) -> BuildPlan:
    """One label file for each image: PASCAL VOC or YOLO."""
    if split != "test" and not by_split:
        raise MissingSplitError(
            f"folder: label files have no splits, so all of {folder.name} is test; with a folder a split, pass "
            "annotations='labels/{split}' and images='images/{split}'"
        )
    images = root / str(options.get("images", "")).replace("{split}", split)
    if not images.is_dir():
        raise DatasetError(f"folder: images={options.get('images')}: no such folder in {root}")
    suffix, labels = label_kind(folder), check_kind(options.get("labels"))
    build, reading = (build_voc, VOC_READING) if suffix == ".xml" else (build_yolo, YOLO_READING)
    chosen = OwnOptions.of(options, reading)
    return BuildPlan(
        KINDS[suffix],
        lambda: build(root, folder, images, chosen, labels),
        tuple(class_files(root, folder)),
        folders=tuple(dict.fromkeys((*folders_below(folder), images))),
    )


def build_folders(root: Path, split: Split, kind: str = "auto", exif: str | None = None) -> Built:
    """ROOT/split/class/image where split folders exist, else ROOT/class/image as test; no boxes."""
    findings = Findings()
    have = split_folders(root)
    if (have and split not in have) or (not have and split != "test"):
        raise MissingSplitError(f"folder: {root} has no {split}/ folder" + ("" if have else ", so all of it is test"))
    base = root / have[split] if have else root
    hint = _hint(root)
    tops = [root / name for name in have.values()] or [root]
    folders = sorted({name for top in tops for name in folders_in(top)})
    flat = (not folders or kind == "none") and any(is_picture(p.name) for p in base.iterdir())
    if not folders and (not flat or kind in ("names", "indices") or hint):
        other = f"; or {hint}" if hint else ""
        raise DatasetError(f"folder: {base} has no class folders; pass annotations=FILE (CSV or COCO JSON){other}")
    if flat and kind != "none":
        kind = "none"
        findings.warn(
            "pictures without labels: the class drawn is the network's prediction; nothing is scored against labels",
            base,
            "with a folder a class, or annotations=FILE, they have labels",
        )
    folders = [*folders, *([""] if flat else [])]
    if kind == "auto":
        _refuse_masks(folders, base)
    names, label_of, known = tuple(folders), {name: i for i, name in enumerate(folders)}, True
    if kind == "auto":
        tell_alike(folders, base, findings)
        _tell_numbers(folders, base, findings)
    else:
        index_of, names, known = class_indices(map(cleaned, folders), kind, base, findings)
        label_of = {name: index_of[cleaned(name)] if names else -1 for name in folders}
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

    facts = {"exif": exif or "ignore", "num_classes_known": known, **label_space(kind, names)}

    def chunks() -> Iterator[Chunk]:
        empty, left_out, depths = [], LeftOut(), Depths(base)
        ids: list[str] = []
        headers = [np.zeros((0, 3), np.int64)]
        for name in folders:
            inside = list(tree.children(name))
            inside = [f"{name}/{n}" if name else n for n in inside]
            files = sorted(filter(is_picture, inside))
            left_out.add(inside)
            depths.look(name)
            empty += [] if files else [name]
            chunk = Chunk(files, tree.paths(files), np.full(len(files), label_of[name]), sizes=tree.sizes(files))
            ids += files
            headers.append(read_headers(chunk.paths))
            yield chunk
        left_out.report(base, findings)
        depths.report(len(ids), findings)
        if not flat:
            tell_stray(base, tree.children(""), findings)
        read = np.concatenate(headers)
        settle_exif(ids, read[:, :2], np.zeros((len(ids), 2), np.int64), read[:, 2], exif, findings)
        if empty:
            findings.warn(f"{len(empty)} classes have no image here: {some(empty)}", base, count=len(empty))

    return Built(names, chunks(), findings, facts, watched=lambda: [base, *tree.folders()])


def _refuse_masks(folders: list[str], base: Path) -> None:
    """Raise where folders of pictures and of their masks or labels would be taken for classes."""
    pictures = [f for f in folders if f.casefold() in _PICTURES]
    others = [f for f in folders if f.casefold() in _NO_PICTURES]
    if pictures and others:
        raise DatasetError(
            f"folder: {base} has {some(others)} beside {some(pictures)}, which are no classes; give the annotations "
            f"(annotations=FILE, or a folder with images={pictures[0]}), --root {base / pictures[0]} for the pictures "
            "alone, or labels=names if they are classes"
        )


def _tell_numbers(folders: list[str], base: Path, findings: Findings) -> None:
    """Folders called by numbers are ranked as names, as torchvision's ImageFolder ranks them: 10 before 2."""
    numbers = [whole(cleaned(name)) for name in folders]
    if folders and None not in numbers and numbers != list(range(len(numbers))):
        findings.warn(
            "folders are called by numbers, and classes are in the order of their names, as in torchvision's "
            f"ImageFolder: {folders[-1]} is class {len(folders) - 1}",
            base,
            "pass --option labels=indices if the numbers are the indices of the classes",
        )


def _hint(root: Path) -> str:
    """Which data set's adapter would know more of this folder; empty where it looks like the user's own."""
    found = resembling_set(root)
    return (
        "" if found is None else f"take {found[0]} with --root {found[1]}, which knows labels, splits and annotations"
    )


ADAPTER = Adapter("folder", 4, plan, OPTIONS)
SPEC = register_dataset(
    DatasetSpec(
        name="folder",
        load=ADAPTER.load,
        title="your own images",
        source="a folder with a CSV of boxes, COCO JSON, VOC or YOLO files, or class folders",
        licence="the images' own",
        options=ADAPTER.all_options,
        metrics=("boxes",),
        own=True,
    )
)
