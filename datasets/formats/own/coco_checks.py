"""What must hold of a COCO file's entries before anything is made of them: ids that name one thing, boxes, classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from ...findings import Findings, some
from ...schema import DatasetError
from .coco_entries import Entries
from .coco_masks import is_segmentation
from .label_words import cleaned

_OWN_IDS = "files that were merged restart their ids: give every one its own, and the annotations the new ones"
_FIXES = {
    "image ids occur more than once": _OWN_IDS,
    "category ids occur more than once": _OWN_IDS,
    "file names occur more than once": "one image has one entry: join the two, and give their annotations its id",
    "images have no `file_name`": "write the file's name below the folder of images; `coco_url` is not read",
    "annotations are of an image that is not listed": "are ids written in two ways, as in 000001 and 1?",
    "annotations are of a category that is not listed": "add it to `categories`, with an id and a name",
    "annotations have no `bbox` of four numbers": "write x,y,width,height, or a segmentation (polygons, run lengths)",
}


def check_entries(content: Entries, path: Path, findings: Findings) -> None:
    """Errors for entries without what is read of them, and for ids that name nothing or two things."""
    images, annotations, categories = content["images"], content["annotations"], content["categories"]
    for key in ("images", "categories"):
        if lost := [i for i, e in enumerate(content[key]) if not is_id(e.get("id"))]:
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
        "file names occur more than once": [f for f, n in Counter(str(n) for n in names if n).items() if n > 1],
        "annotations have an `iscrowd` that is neither 0 nor 1": [
            a.get("id") for a in annotations if a.get("iscrowd") not in (None, 0, 1)
        ],
        "annotations have no `bbox` of four numbers": [
            a.get("id") for a in annotations if not a.get("iscrowd") and not _has_place(a)
        ],
        "annotations are of an image that is not listed": [
            a.get("id") for a in annotations if not is_id(a.get("image_id")) or a["image_id"] not in listed
        ],
        "annotations are of a category that is not listed": [
            a.get("id") for a in annotations if not is_id(a.get("category_id")) or a["category_id"] not in classes
        ],
    }
    for what, ids in wrong.items():
        if ids:
            findings.error(f"{len(ids):,} {what}: id {some(ids)}", path, _FIXES.get(what, ""), len(ids))


def is_id(value: object) -> bool:
    """Whether an entry can be called so: a whole number or a text."""
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


def distinct_categories(
    categories: list[dict[str, Any]], used: set[Any], path: Path, findings: Findings
) -> list[dict[str, Any]]:
    """The categories without unused ones that share their name with another: Roboflow lists a project as one.

    Raises:
        DatasetError: Two categories of one name have annotations.
    """
    names = Counter(cleaned(c["name"]) for c in categories)
    twice = {name for name, count in names.items() if count > 1}
    kept = [c for c in categories if cleaned(c["name"]) not in twice or c["id"] in used]
    again = [name for name, count in Counter(cleaned(c["name"]) for c in kept).items() if count > 1]
    if again or not twice <= {cleaned(c["name"]) for c in kept}:
        name = min(again or twice)
        ids = [c["id"] for c in categories if cleaned(c["name"]) == name]
        raise DatasetError(
            f"{path}: category names are not distinct: {name} is that of ids {some(ids)}; rename one, or join the two"
        )
    if len(kept) < len(categories):
        lost = [c["id"] for c in categories if c not in kept]
        what = (
            f"{len(lost):,} categories without annotations have the name of another, and are left out: id {some(lost)}"
        )
        findings.note(what, path, count=len(lost))
    return kept
