"""COCO JSON read by pycocotools (the ``coco`` extra), for the ``folder`` data set."""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..disk.trees import FolderTree
from ..findings import Findings, some
from ..schema import DatasetError
from ..tables.build import Built
from ..tables.rows import Chunk, group_boxes


def build_coco(root: Path, path: Path, rule: str) -> Built:
    """Images of a COCO file, below ``root``, with the boxes of their category; ``bbox`` is x,y,width,height, 0-based.

    Raises:
        DatasetError: pycocotools is not installed, or the file is not COCO JSON.
    """
    if rule not in ("unique", "largest"):
        raise DatasetError(f"folder: label={rule!r}; choose unique or largest")
    coco = _open(path)
    findings = Findings()
    _check_entries(coco.dataset, path, findings)
    findings.raise_errors(f"folder {path.name}")
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
        # Not getAnnIds(iscrowd=False): many tools leave the field out.
        annotations = [a for a in coco.loadAnns(coco.getAnnIds(imgIds=image["id"])) if not a.get("iscrowd")]
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
            widths=np.array([i.get("width") or 0 for i in images], np.int64),
            heights=np.array([i.get("height") or 0 for i in images], np.int64),
            boxes=flat,
            box_offsets=offsets,
            sizes=tree.sizes(files),
        )

    return Built(names, chunks(), findings, watched=tree.folders, has_boxes=True)


def _check_entries(content: dict[str, Any], path: Path, findings: Findings) -> None:
    """Errors for entries without what is read of them, and for ids that name nothing or two things."""
    images, annotations = content["images"], content.get("annotations", [])
    known, categories = [i["id"] for i in images], {c["id"] for c in content["categories"]}
    names, found = [i.get("file_name") for i in images], set(known)
    wrong = {
        "categories have no `name`": [c["id"] for c in content["categories"] if not isinstance(c.get("name"), str)],
        "images have a `width` or `height` that is not a whole number": [
            i["id"] for i in images if not all(isinstance(i.get(k) or 0, int) for k in ("width", "height"))
        ],
        "images have no `file_name`": [i for i, n in zip(known, names, strict=True) if not isinstance(n, str)],
        "image ids occur more than once": [i for i, n in Counter(known).items() if n > 1],
        "file names occur more than once": [f for f, n in Counter(map(str, names)).items() if n > 1],
        "annotations have no `bbox` of four numbers": [a["id"] for a in annotations if not _is_box(a.get("bbox"))],
        "annotations are of an image that is not listed": [
            a["id"] for a in annotations if a.get("image_id") not in found
        ],
        "annotations are of a category that is not listed": [
            a["id"] for a in annotations if a.get("category_id") not in categories
        ],
    }
    for what, ids in wrong.items():
        if ids:
            findings.error(f"{len(ids):,} {what}: id {some(ids)}", path, count=len(ids))


def _is_box(value: object) -> bool:
    numbers = isinstance(value, list) and len(value) == 4 and all(isinstance(v, int | float) for v in value)
    return numbers and bool(np.isfinite(np.array(value, np.float64)).all())


def _area(annotation: dict[str, Any]) -> float:
    _, _, width, height = annotation["bbox"]
    area = annotation.get("area")
    return float(area if isinstance(area, int | float) else width * height)


def _open(path: Path) -> Any:
    try:
        from pycocotools.coco import COCO
    except ImportError:
        raise DatasetError("COCO JSON needs pycocotools: pip install 'cambench[coco]'") from None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = COCO(str(path))
        listed = bool(coco.getImgIds() and coco.getCatIds())
    except Exception as error:  # pycocotools raises anything on malformed files
        raise DatasetError(f"{path}: not COCO JSON ({type(error).__name__}: {error})") from error
    if not listed:
        raise DatasetError(f"{path}: no images or no categories in it; expected COCO JSON")
    return coco
