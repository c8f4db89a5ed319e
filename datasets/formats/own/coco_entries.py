"""Entries of a COCO file with their numbers as numbers: some tools write all values as text."""

from __future__ import annotations

import re
from typing import Any

_IDS = ("id", "image_id", "category_id")
_NUMBERS = ("width", "height", "area", "iscrowd")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


def plain_entry(entry: dict[str, Any]) -> dict[str, Any]:
    """An image, annotation or category whose ids, sides, area, crowd mark and box are no texts; the rest as it is.

    An id counts as a number where it is written as Python writes one: ``"7"`` is 7, and ``"007"`` stays a name.
    """
    changed: dict[str, Any] = {}
    for key in _IDS:
        value = entry.get(key)
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            changed[key] = int(value)
    for key in _NUMBERS:
        if isinstance(entry.get(key), str):
            changed[key] = _number(entry[key])
    if isinstance(entry.get("iscrowd"), str):
        changed["iscrowd"] = {"false": 0, "true": 1}.get(entry["iscrowd"].strip().lower(), changed["iscrowd"])
    box = entry.get("bbox")
    if isinstance(box, list) and any(isinstance(v, str) for v in box):
        changed["bbox"] = [_number(v) if isinstance(v, str) else v for v in box]
    return {**entry, **changed} if changed else entry


def _number(text: str) -> object:
    """The number that a text is, nothing for an empty one, and the text where it is none."""
    try:
        return float(text) if text.strip() else None
    except ValueError:
        return text
