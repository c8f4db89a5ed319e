"""The four numbers of a box as tools write them: corners, or a point with width and height; pixels, or fractions."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ...findings import Findings, Level, OptionError, some
from ...tables.sizes import MISFIT_SHARE, TOLERANCE, slack

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

_ORDERED = ("xyxy", "xywh", "cxcywh")
UNITS = ("pixels", "fraction", "percent")
FORMS = {
    "xyxy": "x0,y0,x1,y1",
    "xywh": "the left upper corner, width and height",
    "cxcywh": "the centre, width and height",
    "corners": "two opposite corners in any order",
}
BOX_OPTION = (
    "what the four numbers of a box are: xyxy, xywh, cxcywh (centre) or corners (two opposite ones in any order), and "
    "pixels, fraction or percent (of the picture's sides); two words joined by a plus, as in fraction+xywh (default: "
    "as the column names or COCO say; refused where the numbers contradict it)"
)
WHOLE = 1.001
"""Largest coordinate of a box in fractions of its picture: tools round."""
PARTS, ROUNDING = 64, 1e-6
"""A pixel in as many parts, and how near to one of them the rounding of fractions stays, in parts."""
_PERCENT_PICTURE, _PERCENT_REACH, _PERCENT_BOXES = 200, 80.0, 5
"""Boxes are likely percentages where none of so many reaches beyond 100, some beyond 80 both ways, in pictures of more
than 200 pixels a side."""


@dataclass(frozen=True)
class BoxReading:
    """How four numbers are read.

    ``unit`` None: pixels; ``often_fractions``: fractions where all numbers are, as the format has them (YOLO, Open
    Images); ``chosen``: whether the user chose the form; ``unknown_form``: nothing says it, so that the numbers must.
    """

    form: str = "xyxy"
    unit: str | None = None
    often_fractions: bool = False
    chosen: bool = False
    unknown_form: bool = False

    def with_option(self, text: object) -> BoxReading:
        """The reading after the option ``boxes``; OptionError for unknown or contradicting words."""
        if text is None:
            return self
        words = [w for w in re.split(r"[+, ]+", str(text).strip().lower()) if w]
        forms, units = [w for w in words if w in FORMS], [w for w in words if w in UNITS]
        if not words or len(forms) > 1 or len(units) > 1 or len(forms) + len(units) < len(words):
            raise OptionError(
                f"folder: boxes={text}; choose one of {', '.join(FORMS)} and one of {', '.join(UNITS)}, or both joined "
                "by a plus"
            )
        return BoxReading(
            forms[0] if forms else self.form,
            units[0] if units else self.unit,
            self.often_fractions,
            chosen=bool(forms),
            unknown_form=self.unknown_form and not forms,
        )


def corners(numbers: Floats, form: str) -> Floats:
    """Boxes (M,4) x0,y0,x1,y1 of four numbers (M,4) in one of ``FORMS``."""
    first, second = numbers[:, :2], numbers[:, 2:]
    if form == "xywh":
        return np.concatenate([first, first + second], 1)
    if form == "cxcywh":
        return np.concatenate([first - second / 2, first + second / 2], 1)
    if form == "corners":
        return np.concatenate([np.minimum(first, second), np.maximum(first, second)], 1)
    return numbers.copy()


def settle_boxes(
    numbers: Floats,
    sizes: Floats,
    reading: BoxReading,
    where: object,
    findings: Findings,
    *,
    other_sizes: bool = False,
) -> tuple[Floats, bool]:
    """Boxes (M,4) x0,y0,x1,y1 in pixels, and whether the numbers were fractions.

    What cannot be right is an error with the readings that fit: fractions taken for pixels, corners taken for sizes,
    corners in another order. A single box beyond its picture is left to the check of all data sets.

    Args:
        numbers: Four numbers a box (M,4), finite.
        sizes: Width and height (M,2) of each box's picture, 0 where unknown.
        reading: How they are read.
        where: The file, for messages.
        findings: Receives the errors.
        other_sizes: Boxes in pixels belong to pictures of other sizes, which are settled later.
    """
    if not len(numbers):
        return numbers.reshape(-1, 4), reading.unit == "fraction"
    if reading.unit == "percent":
        numbers, reading = numbers / 100, replace(reading, unit="fraction")
    elif reading.unit is None and not other_sizes:
        _doubt_percent(corners(numbers, reading.form), sizes, where, findings)
    small: Flags = np.all((numbers >= 1 - WHOLE) & (numbers <= WHOLE), axis=1)
    broken: Flags = np.any(numbers != np.rint(numbers), axis=1)
    likely = reading.unit is None and reading.often_fractions and bool(small.all())
    fraction = reading.unit == "fraction" or likely
    if fraction and not small.all():
        _refuse_large(numbers, small, where, findings)
        return corners(numbers, reading.form), True
    if reading.unit is None and not likely and _refuse_fractions(numbers, small, broken, where, findings):
        return corners(numbers, reading.form), False
    sizes = np.zeros_like(sizes) if other_sizes and not fraction else sizes
    scale = np.where(sizes > 0, sizes, 1.0)
    if reading.unknown_form:
        reading = _form_that_fits(numbers, sizes, reading, fraction, where, findings)
    boxes = corners(numbers, reading.form)
    _check_order(numbers, sizes, reading, fraction, where, findings)
    return (_without_rounding(boxes * np.concatenate([scale, scale], 1)) if fraction else boxes), fraction


def _without_rounding(boxes: Floats) -> Floats:
    """Boxes in pixels, where sums and products of fractions missed a pixel or a simple part of it by their rounding.

    0.35 - 0.2 / 2 is a little less than a quarter: without this the pixel in which a box ends would be the one before.
    """
    parts = np.rint(boxes * PARTS)
    near: Flags = np.abs(boxes * PARTS - parts) < ROUNDING
    return np.where(near, parts / PARTS, boxes)


def _shown(numbers: Floats) -> str:
    return some([",".join(f"{v:g}" for v in row) for row in numbers[:6]], len(numbers))


def _refuse_large(numbers: Floats, small: Flags, where: object, findings: Findings) -> None:
    large = numbers[~small]
    findings.error(
        f"{len(large):,} of {len(numbers):,} boxes are no fractions of their picture, below 0 or above 1: "
        f"{_shown(large)}",
        where,
        "pass --option boxes=pixels if all are in pixels, else bring them to one unit",
        len(large),
    )


def _refuse_fractions(numbers: Floats, small: Flags, broken: Flags, where: object, findings: Findings) -> bool:
    """Whether boxes read as pixels lie within one pixel, all of them or those with decimals."""
    if small.all():
        findings.error(
            f"all coordinates lie between 0 and 1: fractions of the picture, not pixels: {_shown(numbers)}",
            where,
            "pass --option boxes=fraction (or --option boxes=pixels if the boxes really are of one pixel)",
            len(numbers),
        )
        return True
    odd = small & broken
    if odd.any():
        findings.error(
            f"{int(odd.sum()):,} of {len(numbers):,} boxes have all coordinates between 0 and 1, the others are in "
            f"pixels: {_shown(numbers[odd])}",
            where,
            "bring all boxes to one unit, or pass --option boxes=pixels to take them as they are",
            int(odd.sum()),
        )
    return bool(odd.any())


def _doubt_percent(boxes: Floats, sizes: Floats, where: object, findings: Findings) -> None:
    """Refuse boxes that lie as percentages do; a warning where they are few."""
    within = ((boxes >= 0) & (boxes <= 100 * WHOLE)).all() and (boxes > WHOLE).any()
    if not within or not (sizes > _PERCENT_PICTURE).all() or (boxes[:, 2:].max(0) < _PERCENT_REACH).any():
        return
    what = (
        f"all {len(boxes):,} boxes lie between 0 and 100, reach there almost, and all pictures are larger than "
        f"{_PERCENT_PICTURE} pixels: percentages of the picture?"
    )
    level: Level = "error" if len(boxes) >= _PERCENT_BOXES else "warning"
    fix = "pass --option boxes=percent, or --option boxes=pixels if they really are in pixels"
    findings.add(level, f"{what} {_shown(boxes)}", where, fix, len(boxes))


def _wrong(numbers: Floats, sizes: Floats, form: str) -> tuple[Flags, Flags]:
    """Which boxes end before they start, and which reach far beyond their picture, read as ``form``."""
    boxes = corners(numbers, form)
    turned: Flags = np.any(boxes[:, 2:] < boxes[:, :2], axis=1)
    # Sides of 1 are those of fractions, of which no pixel is a share.
    room = np.where(sizes > 1, slack(sizes), TOLERANCE * sizes)
    beyond: Flags = np.any(boxes[:, :2] < -room, axis=1) | np.any(boxes[:, 2:] > sizes + room, axis=1)
    known: Flags = np.all(sizes > 0, axis=1)
    return turned, beyond & known


def _form_that_fits(
    numbers: Floats, sizes: Floats, reading: BoxReading, fraction: bool, where: object, findings: Findings
) -> BoxReading:
    """The reading with the only form in which all numbers make boxes; more than one is an error."""
    limits = np.where(sizes > 0, 1.0, 0.0) if fraction else sizes
    fitting = [f for f in _ORDERED if not np.any(_wrong(numbers, limits, f))]
    if len(fitting) == 1:
        what = f"the four numbers of a box are {FORMS[fitting[0]]}, as they fit no other order: {_shown(numbers)}"
        findings.note(what, where, f"say it with --option boxes={fitting[0]}")
        return replace(reading, form=fitting[0], chosen=True)
    choices = " or ".join(f"--option boxes={f} ({FORMS[f]})" for f in fitting or _ORDERED)
    findings.error(
        f"nothing says what the four numbers of a box are, and all of them fit {len(fitting) or 'no'} orders: "
        f"{_shown(numbers)}",
        where,
        f"say it with {choices}",
    )
    return replace(reading, form="corners")


def _check_order(
    numbers: Floats, sizes: Floats, reading: BoxReading, fraction: bool, where: object, findings: Findings
) -> None:
    """Report numbers that make no boxes in this reading, with the readings in which they all fit."""
    limits = np.where(sizes > 0, 1.0, 0.0) if fraction else sizes
    all_turned, all_beyond = _wrong(numbers, limits, reading.form)
    turned, beyond = int(all_turned.sum()), int(all_beyond.sum())
    known = int((sizes > 0).all(1).sum())
    many = known > 0 and beyond > MISFIT_SHARE * known
    if not turned and not many:
        return
    fitting = [f for f in FORMS if f != reading.form and not np.any(_wrong(numbers, limits, f))]
    # Corners in any order fit wherever corners do, so they are told of turned boxes only.
    if not turned or "xyxy" in fitting:
        fitting = [f for f in fitting if f != "corners"]
    if not turned and (reading.chosen or not (fitting or fraction)):
        return  # Boxes of pictures of another size: the check of all data sets knows more.
    found = [f"{turned:,} end before they start"] if turned else []
    found += [f"{beyond:,} reach beyond their picture"] if many else []
    unit = "fraction+" if fraction else ""
    keep = "" if turned else f", or pass --option boxes={unit}{reading.form} to take them as they are"
    fits = " or ".join(f"--option boxes={unit}{f} ({FORMS[f]})" for f in fitting)
    findings.error(
        f"boxes read as {FORMS[reading.form]}: of {len(numbers):,}, {' and '.join(found)}: "
        f"{_shown(numbers[all_turned if turned else all_beyond])}",
        where,
        f"all of them fit with {fits}"
        if fits
        else f"no other order of the numbers fits all of them: correct the file{keep}",
        max(turned, beyond),
    )
