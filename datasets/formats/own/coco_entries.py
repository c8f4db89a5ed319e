"""The entries of a COCO file, each once, with their numbers as numbers: some tools write all values as text."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from ...disk.textfiles import as_number, decoded
from ...findings import Findings, some
from ...schema import DatasetError

LISTS = ("images", "annotations", "categories")
Entries = dict[str, list[dict[str, Any]]]
_KEEP = {"images": ("id", "file_name", "width", "height"), "categories": ("id", "name")}
"""What two entries of one id must share to be the same entry twice, as in files that were merged."""
_IDS = ("id", "image_id", "category_id")
_NUMBERS = ("width", "height", "area", "iscrowd")
_WHOLE = re.compile(r"0|-?[1-9][0-9]{0,17}")


def read_entries(path: Path, findings: Findings) -> Entries:
    """The three lists of a COCO file; images and categories that are listed twice alike are one.

    Raises:
        DatasetError: It is no COCO JSON; names the tool whose JSON it is, where that is known.
    """
    try:
        text = decoded(path.read_bytes(), str(path))
        # Python keeps the last of two lists of one name. The check of every object takes as long as reading the file.
        merged = any(text.count(f'"{key}"') > 1 for key in LISTS)
        content = json.loads(text, object_pairs_hook=_each_key_once if merged else None)
    except DatasetError:
        raise
    except (ValueError, RecursionError, OSError) as error:
        raise DatasetError(f"{path}: not COCO JSON ({type(error).__name__}: {error})") from error
    if (tool := _other_tool(content)) is not None:
        raise DatasetError(f"{path}: {tool}, not COCO JSON: export COCO JSON, PASCAL VOC, YOLO or a CSV of boxes there")
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not COCO JSON: expected an object with images, annotations and categories")
    found: Entries = {}
    for key in LISTS:
        entries = content.get(key)
        if entries is None and key == "annotations":
            raise DatasetError(f"{path}: no `annotations` in it, so nothing says what the images show")
        if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
            what = f"no `{key}` in it" if entries is None else f"`{key}` is no list of objects"
            raise DatasetError(f"{path}: not COCO JSON: {what}; it needs images, annotations and categories")
        found[key] = _each_once(key, [plain_entry(e) for e in entries], path, findings)
    if not found["images"] or not found["categories"]:
        raise DatasetError(f"{path}: no images or no categories in it; expected COCO JSON")
    return found


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        raise ValueError(f"an object has {some(twice)} more than once, as when files are joined as text")
    return found


def _each_once(key: str, entries: list[dict[str, Any]], path: Path, findings: Findings) -> list[dict[str, Any]]:
    """Images or categories without those that repeat another one, id and all."""
    if key not in _KEEP:
        return entries
    seen: dict[str, dict[str, Any]] = {}
    for entry in entries:
        seen.setdefault(json.dumps([entry.get(k) for k in _KEEP[key]], default=str), entry)
    if len(seen) < len(entries):
        twice = len(entries) - len(seen)
        findings.note(f"{twice:,} {key} are listed more than once, alike: taken once", path, count=twice)
    return list(seen.values())


def _other_tool(content: Any) -> str | None:
    """Which tool's own JSON this is; None for COCO's, and for what nobody knows."""
    first = content[0] if isinstance(content, list) and content else content
    if not isinstance(first, dict) or (isinstance(content, dict) and set(LISTS) & set(content)):
        return None
    if isinstance(content, list):
        if "score" in first and "image_id" in first:
            return "COCO's form for results, which lists predictions and no images"
        if "bbox" in first and "image_id" in first:
            return "a list of annotations alone, without images and categories"
        if "image" in first and "annotations" in first:
            return "JSON of CreateML"
        return "JSON of Label Studio" if "data" in first or "annotations" in first else None
    if "shapes" in first:
        return "JSON of labelme, of one image"
    if "_via_img_metadata" in first or any(isinstance(v, dict) and "regions" in v for v in first.values()):
        return "JSON of the VGG Image Annotator (VIA)"
    if "samples" in first:
        return "JSON of FiftyOne"
    return "JSON of Supervisely" if "objects" in first and "size" in first else None


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
        return as_number(text) if text.strip() else None
    except ValueError:
        return text
