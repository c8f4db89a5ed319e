"""What people's annotations say of each image, and the rule that makes rows of it: one class an image, or all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...findings import Findings, OptionError, some
from ...tables.rows import Ints

Floats = npt.NDArray[np.float64]
RULES = ("unique", "only", "largest")
RULE_OPTIONS = {
    "label": "which class an image with several has: unique (default: such images are refused), only (they are left "
    "out) or largest (the class of the largest instance; instances of other classes are background)",
    "classes": "single (default: a row an image) or rows: a row for each image and class, with that class's boxes "
    "and masks, as the pointing game on VOC and COCO needs",
}


@dataclass(frozen=True)
class Instances:
    """Images and the instances on them, as annotated.

    Attributes:
        images: Name of each image as written, distinct.
        sizes: Stated width and height (I,2), 0 where none is stated.
        owner: Image of each instance (M,).
        labels: Class of each instance (M,).
        numbers: The four numbers of each box (M,4), NaN where an instance has none.
        areas: Stated area of each instance (M,) for the rule ``largest``, NaN or None where that of the box counts.
        segmentations: What the file says of each instance's mask; None where the format has none.
        crowds: Segmentations of crowds, whose pixels never count, by image.
    """

    images: list[str]
    sizes: Ints
    owner: Ints
    labels: Ints
    numbers: Floats
    areas: Floats | None = None
    segmentations: Sequence[Any] | None = None
    crowds: Mapping[int, list[Any]] | None = None


@dataclass(frozen=True)
class Rows:
    """Rows by image, then class. ``image``, ``label``: (R,); ``row``: the row of each instance (M,), -1: in none."""

    image: Ints
    label: Ints
    row: Ints


def class_rule(options: Mapping[str, Any]) -> str:
    """``unique``, ``only``, ``largest`` or ``rows``; OptionError for other words."""
    label, classes = options.get("label"), str(options.get("classes", "single"))
    if label is not None and label not in RULES:
        raise OptionError(f"folder: label={label!r}; choose unique, only or largest")
    if classes not in ("single", "rows"):
        raise OptionError(f"folder: classes={classes!r}; choose single or rows")
    if classes == "rows" and label is not None:
        raise OptionError(f"folder: label={label} chooses one class an image, classes=rows keeps all: leave one out")
    return "rows" if classes == "rows" else str(label or "unique")


def make_rows(
    inst: Instances, boxes: Floats, names: Sequence[str], rule: str, where: object, findings: Findings
) -> Rows:
    """Rows of the instances, with boxes (M,4) x0,y0,x1,y1; images that a rule cannot place are an error."""
    classes = max(1, len(names))
    pairs, inverse = np.unique(inst.owner * classes + inst.labels, return_inverse=True)
    image, label = pairs // classes, pairs % classes
    several = np.bincount(image, minlength=len(inst.images)) > 1
    mixed = np.flatnonzero(several)
    keep = np.ones(len(pairs), bool)
    if rule == "largest" and mixed.size:
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        if inst.areas is not None:
            areas = np.where(np.isnan(inst.areas), areas, inst.areas)
        keep = _largest(inst, areas, several, image, inverse, where, findings)
    elif rule != "rows" and mixed.size:
        keep = ~several[image]
        shown = some([_mixed(inst, names, image, label, int(i)) for i in mixed[:6]], mixed.size)
        what = f"{mixed.size:,} of {len(inst.images):,} images have several classes"
        if rule == "only":
            findings.warn(f"{what} and are left out (label=only): {shown}", where, count=mixed.size)
        else:
            findings.error(
                f"{what}: {shown}",
                where,
                "pass --option label=largest (the class of the largest instance), label=only (leave these images out) "
                "or classes=rows (a row for each image and class)",
                mixed.size,
            )
    elif rule == "rows" and mixed.size:
        findings.note(f"a row for each image and class: {len(pairs):,} rows of {np.unique(image).size:,} images", where)
    place = np.where(keep, np.cumsum(keep) - 1, -1)
    return Rows(image[keep], label[keep], place[inverse] if len(pairs) else np.zeros(0, np.int64))


def _mixed(inst: Instances, names: Sequence[str], image: Ints, label: Ints, index: int) -> str:
    return f"{inst.images[index]} ({some([names[c] for c in label[image == index]])})"


def _largest(
    inst: Instances,
    areas: Floats,
    several: npt.NDArray[np.bool_],
    image: Ints,
    inverse: Ints,
    where: object,
    findings: Findings,
) -> npt.NDArray[np.bool_]:
    """Pairs of image and class that hold the image's largest instance, the first of equal ones."""
    if np.isnan(areas[several[inst.owner]]).any():
        findings.error("label=largest needs a box or a mask of every instance", where, "pass label=only")
        return np.zeros(len(image), bool)
    order = np.lexsort((np.arange(len(areas)), -areas, inst.owner))
    _, first = np.unique(inst.owner[order], return_index=True)
    keep = np.zeros(len(image), bool)
    keep[inverse[order[first]]] = True
    return keep
