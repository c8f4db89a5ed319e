"""COCO JSON for the ``folder`` data set: boxes, polygons and run-length masks, as people's files have them.

Read as plain JSON, not through pycocotools' index: that keeps the last annotation of a repeated id, so that an image
could get another image's label and box. An annotation belongs to its ``image_id`` here, and its own id is a name only.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ...disk.textfiles import decoded
from ...findings import Findings, some
from ...schema import DatasetError
from ...tables.build import Built
from ..network_classes import network_indices, network_names
from .box_forms import BoxReading
from .coco_entries import plain_entry
from .coco_masks import draw_mask, extent, is_of, is_segmentation
from .instances import Instances
from .label_words import cleaned, label_space
from .own_table import OwnFile, OwnOptions, build_own

MASK_OPTION = (
    "COCO: auto (default: polygons and run lengths are masks where every annotation has one) or off (boxes only)"
)
LISTS = ("images", "annotations", "categories")
Entries = dict[str, list[dict[str, Any]]]


def build_coco(root: Path, path: Path, options: OwnOptions, labels: str, masks: str) -> Built:
    """Images of a COCO file, below ``root``; ``bbox`` is x,y,width,height, 0-based, unless ``boxes`` says otherwise.

    Raises:
        DatasetError: The file is not COCO JSON, or entries lack what is read of them.
    """
    content = _entries(path)
    findings = Findings()
    _check_entries(content, path, findings)
    findings.raise_errors(f"folder {path.name}")
    names, label_of = _classes(content["categories"], labels, path)
    images = sorted(content["images"], key=lambda i: (isinstance(i["id"], str), i["id"]))
    inst = _instances(images, content["annotations"], label_of, path, findings)
    drawn = masks != "off" and _have_masks(inst, path, findings)
    facts = label_space(labels, names)
    file = OwnFile(path, inst, names, has_boxes=True, draw=draw_mask if drawn else None, facts=facts)
    return build_own(root, file, options, findings)


def _entries(path: Path) -> Entries:
    """The three lists of a COCO file; DatasetError where it is none."""
    try:
        text = decoded(path.read_bytes(), str(path))
        # Python keeps the last of two lists of one name. The check of every object takes as long as reading the file.
        merged = any(text.count(f'"{key}"') > 1 for key in LISTS)
        content = json.loads(text, object_pairs_hook=_each_key_once if merged else None)
    except DatasetError:
        raise
    except (ValueError, RecursionError, OSError) as error:
        raise DatasetError(f"{path}: not COCO JSON ({type(error).__name__}: {error})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not COCO JSON: expected an object with images, annotations and categories")
    found: Entries = {}
    for key in LISTS:
        entries = content.get(key)
        if entries is None and key == "annotations":
            raise DatasetError(f"{path}: no `annotations` in it, so nothing says what the images show")
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            raise DatasetError(f"{path}: not COCO JSON: `{key}` is no list of objects")
        found[key] = [plain_entry(e) for e in entries]
    if not found["images"] or not found["categories"]:
        raise DatasetError(f"{path}: no images or no categories in it; expected COCO JSON")
    return found


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        raise ValueError(f"an object has {some(twice)} more than once, as when files are joined as text")
    return found


def _check_entries(content: Entries, path: Path, findings: Findings) -> None:
    """Errors for entries without what is read of them, and for ids that name nothing or two things."""
    images, annotations, categories = content["images"], content["annotations"], content["categories"]
    for key in ("images", "categories"):
        if lost := [i for i, e in enumerate(content[key]) if not _is_id(e.get("id"))]:
            findings.error(f"{len(lost):,} {key} have no `id`: entry {some(lost)}", path, count=len(lost))
    if findings.of("error"):
        return
    known, kinds = [i["id"] for i in images], [c["id"] for c in categories]
    names, listed, classes = [i.get("file_name") for i in images], set(known), set(kinds)
    wrong = {
        "categories have no `name`": [c["id"] for c in categories if not isinstance(c.get("name"), str)],
        "category ids occur more than once": [c for c, n in Counter(kinds).items() if n > 1],
        "images have a `width` or `height` that is not a whole number": [
            i["id"] for i in images if not all(_is_side(i.get(k)) for k in ("width", "height"))
        ],
        "images have no `file_name`": [i for i, n in zip(known, names, strict=True) if not n or not isinstance(n, str)],
        "image ids occur more than once": [i for i, n in Counter(known).items() if n > 1],
        "file names occur more than once": [f for f, n in Counter(map(str, names)).items() if n > 1],
        "annotations have an `iscrowd` that is neither 0 nor 1": [
            a.get("id") for a in annotations if a.get("iscrowd") not in (None, 0, 1)
        ],
        "annotations have no `bbox` of four numbers": [
            a.get("id") for a in annotations if not a.get("iscrowd") and not _has_place(a)
        ],
        "annotations are of an image that is not listed": [
            a.get("id") for a in annotations if not _is_id(a.get("image_id")) or a["image_id"] not in listed
        ],
        "annotations are of a category that is not listed": [
            a.get("id") for a in annotations if not _is_id(a.get("category_id")) or a["category_id"] not in classes
        ],
    }
    for what, ids in wrong.items():
        if ids:
            findings.error(f"{len(ids):,} {what}: id {some(ids)}", path, count=len(ids))


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) or (isinstance(value, float) and value.is_integer())


def _is_side(value: object) -> bool:
    """A width or height: a whole number of pixels in any spelling of JSON, or nothing."""
    if value is None:
        return True
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value < 2**31 and float(value).is_integer()


def _is_box(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    return all(isinstance(v, int | float) and not isinstance(v, bool) and abs(v) < 2.0**31 for v in value)


def _has_place(annotation: dict[str, Any]) -> bool:
    """Whether it has a box, or a mask from which one follows where ``bbox`` is absent or empty."""
    box = annotation.get("bbox")
    return _is_box(box) if box else is_segmentation(annotation.get("segmentation"))


def _classes(categories: list[dict[str, Any]], labels: str, path: Path) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Class names in the order of the categories' ids, or the network's; and category id -> class."""
    order = sorted(categories, key=lambda c: (isinstance(c["id"], str), c["id"]))
    names = tuple(cleaned(c["name"]) for c in order)
    if len(set(names)) < len(names):
        raise DatasetError(f"{path}: category names are not distinct")
    if labels == "none":
        return (), {c["id"]: 0 for c in order}
    if labels == "network" and "label_names" not in label_space(labels, names):
        found = network_indices(names, {}, path)
        return network_names(), {c["id"]: found[n] for c, n in zip(order, names, strict=True)}
    return names, {c["id"]: i for i, c in enumerate(order)}


def _instances(
    images: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
    label_of: dict[Any, int],
    path: Path,
    findings: Findings,
) -> Instances:
    """Annotations that are no crowds as instances; a repeated annotation id is told and does no harm."""
    place = {image["id"]: i for i, image in enumerate(images)}
    # Not every tool writes `iscrowd`.
    single = [a for a in annotations if not a.get("iscrowd")]
    crowds: dict[int, list[Any]] = {}
    for annotation in annotations:
        if annotation.get("iscrowd"):
            mask = annotation.get("segmentation")
            crowds.setdefault(place[annotation["image_id"]], []).extend([mask] if is_segmentation(mask) else [])
    ids = Counter(a["id"] for a in annotations if _is_id(a.get("id")))
    if twice := [i for i, n in ids.items() if n > 1]:
        what = f"{len(twice):,} annotation ids occur more than once (harmless: each belongs to its image_id)"
        findings.note(f"{what}: id {some(twice)}", path, count=len(twice))
    unboxed = [a.get("id") for a in single if not a.get("bbox")]
    if unboxed:
        what = f"{len(unboxed):,} annotations have no `bbox`; their boxes are those of their masks: id {some(unboxed)}"
        findings.note(what, path, count=len(unboxed))
    numbers = [a["bbox"] if a.get("bbox") else extent(a["segmentation"]) for a in single]
    return Instances(
        images=[str(i["file_name"]) for i in images],
        sizes=np.array([[int(i.get(k) or 0) for k in ("width", "height")] for i in images], np.int64).reshape(-1, 2),
        owner=np.array([place[a["image_id"]] for a in single], np.int64),
        labels=np.array([label_of[a["category_id"]] for a in single], np.int64),
        numbers=np.array(numbers, np.float64).reshape(-1, 4),
        areas=np.array([_area(a) for a in single], np.float64),
        segmentations=[a.get("segmentation") for a in single],
        crowds=crowds,
    )


def _area(annotation: dict[str, Any]) -> float:
    area = annotation.get("area")
    good = isinstance(area, int | float) and not isinstance(area, bool) and 0 <= area < 2.0**62
    return float(area) if good and area is not None else float("nan")


def _have_masks(inst: Instances, path: Path, findings: Findings) -> bool:
    """Whether every instance has a mask of its picture; says why not where some have."""
    masks = inst.segmentations or []
    good = np.array([is_segmentation(m) for m in masks], bool)
    stated = [(mask, int(image)) for mask, image, ok in zip(masks, inst.owner, good, strict=True) if ok]
    stated += [(mask, image) for image, group in (inst.crowds or {}).items() for mask in group]
    sizes = inst.sizes.tolist()
    other = [inst.images[i] for mask, i in stated if sizes[i][0] and not is_of(mask, (sizes[i][0], sizes[i][1]))]
    if other:
        what = f"{len(other):,} masks are not of a picture of the size that is stated: {some(other)}"
        findings.error(what, path, "correct width and height, or pass --option masks=off", len(other))
        return False
    if good.all():
        return len(masks) > 0
    if good.any():
        what = f"{int((~good).sum()):,} of {len(masks):,} annotations have no mask: no pixel scores (PxAP)"
        findings.note(what, path, count=int((~good).sum()))
    return False


READING = BoxReading("xywh")
"""What COCO says a box is."""
