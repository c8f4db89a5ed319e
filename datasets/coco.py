"""COCO JSON read by pycocotools (the ``coco`` extra), for the ``folder`` data set."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .adapter import Built
from .findings import Findings, MissingSplitError, some
from .rows import Chunk, group_boxes
from .schema import DatasetError, Split
from .trees import FolderTree


def build_coco(root: Path, path: Path, split: Split, rule: str) -> Built:
    """Images of a COCO file with the boxes of their category; ``bbox`` is x,y,width,height, 0-based.

    Raises:
        DatasetError: pycocotools is not installed, or the file is not COCO JSON.
    """
    if split != "test":
        raise MissingSplitError(f"folder: a COCO file has no splits, so all of {path.name} is test")
    if rule not in ("unique", "largest"):
        raise DatasetError(f"folder: label={rule!r}; choose unique or largest")
    coco = _open(path)
    findings = Findings()
    category_ids = sorted(coco.getCatIds())
    names = tuple(c["name"] for c in coco.loadCats(category_ids))
    label_of = {c: i for i, c in enumerate(category_ids)}
    if len(set(names)) < len(names):
        raise DatasetError(f"{path}: category names are not distinct")
    images: list[dict[str, Any]] = []
    labels: list[int] = []
    owner: list[int] = []
    boxes: list[list[float]] = []
    mixed: list[str] = []
    bare: list[str] = []
    for image in coco.loadImgs(sorted(coco.getImgIds())):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"], iscrowd=False))
        if not annotations:
            bare.append(image["file_name"])
            continue
        main = max(annotations, key=_area)["category_id"]
        if rule == "unique" and any(a["category_id"] != main for a in annotations):
            mixed.append(image["file_name"])
            continue
        for annotation in annotations:
            if annotation["category_id"] == main:
                x, y, width, height = annotation["bbox"]
                owner.append(len(images))
                boxes.append([x, y, x + width, y + height])
        images.append(image)
        labels.append(label_of.get(main, -1))
    if mixed:
        fix = "pass label=largest to take the category of the largest annotation"
        findings.error(f"{len(mixed):,} images have several categories: {some(mixed)}", path, fix, len(mixed))
    if bare:
        findings.error(f"{len(bare):,} images have no annotation: {some(bare)}", path, "remove them", len(bare))
    tree = FolderTree(root)

    def chunks() -> Iterator[Chunk]:
        files = [str(i["file_name"]) for i in images]
        flat, offsets = group_boxes(np.array(owner, np.int64), np.array(boxes, np.float64).reshape(-1, 4), len(images))
        yield Chunk(
            ids=files,
            paths=tree.paths(files),
            labels=np.array(labels, np.int64),
            widths=np.array([i.get("width", 0) for i in images], np.int64),
            heights=np.array([i.get("height", 0) for i in images], np.int64),
            boxes=flat,
            box_offsets=offsets,
            sizes=tree.sizes(files),
        )

    return Built(names, chunks(), findings, watched=tree.folders, has_boxes=True)


def _area(annotation: dict[str, Any]) -> float:
    _, _, width, height = annotation["bbox"]
    return float(annotation.get("area", width * height))


def _open(path: Path) -> Any:
    try:
        from pycocotools.coco import COCO
    except ImportError:
        raise DatasetError("COCO JSON needs pycocotools: pip install 'cambench[coco]'") from None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
    except Exception as error:  # pycocotools raises anything on malformed files
        raise DatasetError(f"{path}: not COCO JSON ({type(error).__name__}: {error})") from error
    if not coco.getImgIds() or not coco.getCatIds():
        raise DatasetError(f"{path}: no images or no categories in it; expected COCO JSON")
    return coco
