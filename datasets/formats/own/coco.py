"""COCO JSON for the ``folder`` data set: boxes, polygons and run-length masks, as people's files have them.

Read as plain JSON, not through pycocotools' index: that keeps the last annotation of a repeated id, so that an image
could get another image's label and box. An annotation belongs to its ``image_id`` here, and its own id is a name only.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...findings import Findings, some
from ...tables.build import Built
from ..network_classes import network_indices, network_names
from .box_forms import BoxReading
from .coco_checks import check_entries, distinct_categories, is_id
from .coco_entries import read_entries
from .coco_masks import draw_mask, extent, is_of, is_segmentation
from .instances import Instances
from .label_words import cleaned, label_space
from .own_table import OwnFile, OwnOptions, build_own
from .predicted import tell_scores

MASK_OPTION = (
    "COCO: auto (default: polygons and run lengths are masks where every annotation has one) or off (boxes only)"
)


def build_coco(root: Path, path: Path, options: OwnOptions, labels: str, masks: str) -> Built:
    """Images of a COCO file, below ``root``; ``bbox`` is x,y,width,height, 0-based, unless ``boxes`` says otherwise.

    Raises:
        DatasetError: The file is not COCO JSON, or entries lack what is read of them.
    """
    findings = Findings()
    content = read_entries(path, findings)
    check_entries(content, path, findings)
    findings.raise_errors(f"folder {path.name}")
    scores = {s for a in content["annotations"] if isinstance(s := a.get("score"), int | float)}
    tell_scores(scores, "the field score of the annotations", path, findings)
    used = {a["category_id"] for a in content["annotations"]}
    names, label_of = _classes(distinct_categories(content["categories"], used, path, findings), labels, path)
    images = sorted(content["images"], key=lambda i: (isinstance(i["id"], str), i["id"]))
    inst = _instances(images, content["annotations"], label_of, path, findings)
    # Masks are of the pictures whose sizes hold, which are found later where they are not those that are stated.
    checked = replace(inst, sizes=np.zeros_like(inst.sizes)) if options.sizes else inst
    drawn = masks != "off" and _have_masks(checked, path, findings)
    facts = label_space(labels, names)
    file = OwnFile(path, inst, names, has_boxes=True, draw=draw_mask if drawn else None, facts=facts)
    return build_own(root, file, options, findings)


def _classes(categories: list[dict[str, Any]], labels: str, path: Path) -> tuple[tuple[str, ...], dict[Any, int]]:
    """Class names in the order of the categories' ids, or the network's; and category id -> class."""
    order = sorted(categories, key=lambda c: (isinstance(c["id"], str), c["id"]))
    names = tuple(cleaned(c["name"]) for c in order)
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
    ids = Counter(a["id"] for a in annotations if is_id(a.get("id")))
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
    faulty = [inst.images[i] for mask, i, ok in zip(masks, inst.owner, good, strict=True) if mask and not ok]
    if faulty:
        what = f"{len(faulty):,} of {len(masks):,} segmentations are neither polygons ([[x, y, x, y, x, y, …], …]) nor "
        what += f"run lengths that fill their picture: no pixel scores (PxAP): {some(faulty)}"
        findings.warn(what, path, "correct them, or pass --option masks=off", len(faulty))
    elif good.any():
        what = f"{int((~good).sum()):,} of {len(masks):,} annotations have no mask: no pixel scores (PxAP)"
        findings.note(what, path, count=int((~good).sum()))
    return False


READING = BoxReading("xywh")
"""What COCO says a box is."""
