"""COCO's segmentations: polygons and run-length codes, checked before they are drawn, as PNG masks."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...schema import DatasetError

LARGEST = 89_000_000
"""Pixels of the largest mask that is drawn, as many as Pillow reads back without a word: a damaged size must not take
the machine's memory."""
REACH = 4.0
"""Sides of its picture by which a polygon may reach beyond it; anything further is not about this picture."""


def is_segmentation(value: object) -> bool:
    """Whether something is a mask in one of COCO's forms: polygons, or run lengths with their size."""
    if isinstance(value, dict):
        return _run_lengths(value) is not None
    return isinstance(value, list) and len(value) > 0 and all(_is_polygon(p) for p in value)


def _is_polygon(value: object) -> bool:
    numbers = isinstance(value, list) and len(value) >= 6 and len(value) % 2 == 0 and all(_is_number(v) for v in value)
    return numbers and bool(np.isfinite(np.array(value, np.float64)).all())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2.0**31


def extent(value: Any) -> list[float]:
    """Left, top, width and height of the pixels of a mask, or of its polygons."""
    if isinstance(value, dict):
        rows, columns = np.nonzero(_decoded(value))
        if not rows.size:
            return [0.0, 0.0, 0.0, 0.0]
        left, top = int(columns.min()), int(rows.min())
        return [float(left), float(top), float(columns.max() + 1 - left), float(rows.max() + 1 - top)]
    points = np.concatenate([np.array(p, np.float64).reshape(-1, 2) for p in value])
    (left, top), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    return [left, top, right - left, bottom - top]


def is_of(value: Any, size: tuple[int, int]) -> bool:
    """Whether a mask can be one of a picture of (width, height): of its size, or polygons that lie about there."""
    if size[0] * size[1] > LARGEST:
        return False
    if isinstance(value, dict):
        return bool(value["size"] == [size[1], size[0]])
    points = np.concatenate([np.array(p, np.float64).reshape(-1, 2) for p in value])
    side = REACH * np.array(size, np.float64)
    return not ((points < -side).any() or (points > side + side).any())


def draw_mask(values: list[Any], size: tuple[int, int]) -> bytes:
    """A PNG (1 bit) of the union of segmentations, at (width, height) or at the size that run lengths state.

    Polygons are drawn by pycocotools, as COCO's evaluation draws them.

    Raises:
        DatasetError: pycocotools cannot be imported, or polygons lie far from their picture.
    """
    pixels: npt.NDArray[np.bool_] | None = None
    for value in values:
        one = _decoded(value) if isinstance(value, dict) else _drawn(value, size)
        pixels = one if pixels is None or pixels.shape != one.shape else pixels | one
    assert pixels is not None
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _drawn(polygons: list[list[float]], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DatasetError(
            f"COCO polygons need pycocotools ({error}): pip install pycocotools, or pass --option masks=off"
        ) from error
    width, height = max(1, size[0]), max(1, size[1])
    if not is_of(polygons, (width, height)):
        raise DatasetError(
            f"a polygon does not lie on its picture of {width}×{height} pixels: {polygons[0][:6]}; correct the file, "
            "or pass --option masks=off"
        )
    drawn = mask.decode(mask.frPyObjects([list(map(float, p)) for p in polygons], height, width))
    united: npt.NDArray[np.bool_] = np.asarray(drawn).max(axis=2) > 0
    return united


def _decoded(value: dict[str, Any]) -> npt.NDArray[np.bool_]:
    counts = _run_lengths(value)
    assert counts is not None
    height, width = value["size"]
    bits = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    # Columns come first.
    return np.ascontiguousarray(bits.reshape(width, height).T)


def _run_lengths(value: dict[str, Any]) -> list[int] | None:
    """Lengths of the runs of 0, 1, 0 … that fill the mask of ``size`` [height, width]; None where they do not."""
    size, counts = value.get("size"), value.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(type(v) is int and v > 0 for v in size)):
        return None
    if size[0] * size[1] > LARGEST:
        return None
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not (isinstance(counts, list) and all(type(c) is int and 0 <= c <= LARGEST for c in counts)):
        return None
    return counts if sum(counts) == size[0] * size[1] else None


def _unpacked(text: str) -> list[int] | None:
    """Run lengths of COCO's compressed form: six bits a character from ``0`` on, five of them digits, little end first.

    The sixth bit says that the number goes on; the highest digit bit of the last is the sign. From the third run on
    the numbers are differences to the run before the last one.
    """
    runs: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = shift = 0
    return None if shift else runs
