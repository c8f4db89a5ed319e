"""Columns of the per-image records: names, dtypes, shapes, and which data sets have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .manifest import RunManifest
from .record_errors import RecordError

Array = npt.NDArray[Any]

EXTRA = "extra:"
"""Prefix of float64 columns of further metrics (one value per image)."""
MAP = "map"
HITS = ("hits_multi", "hits_single", "hits_single_first")
LEVEL_BYTES = 32
"""256 levels, one bit each, most significant bit first (``metrics``' ``pack_hits``)."""


@dataclass(frozen=True)
class Column:
    """A column: kind of its numbers, dimensions per image, and what it holds."""

    dtype: str
    """NumPy dtype on disk."""
    ndim: int
    """Dimensions of one image's value; 0 for a number."""
    about: str


COLUMNS: dict[str, Column] = {
    "image_id": Column("str", 0, "id of the image in the data set"),
    "index": Column("<i8", 0, "row of the data set"),
    "label": Column("<i4", 0, "class of the image"),
    "predicted": Column("<i4", 0, "argmax of the softmax branch; -1 where no network stands behind the maps"),
    "target": Column("<i4", 0, "class whose evidence is drawn and scored"),
    "degenerate": Column("|u1", 0, "0: map has contrast; 1: constant or empty; 2: held NaN or infinity"),
    "peak": Column("|u1", 0, "highest quantised level of the map, 0 to 255"),
    "reference": Column(
        "<f8", 0, "percentile of the map's levels, of which τ is a fraction; absent where that is the peak"
    ),
    "hits_multi": Column(
        "|u1", 2, "(T,32): bit l of row t says IoU >= threshold t of {levels > l}; all contours, any box"
    ),
    "hits_single": Column("|u1", 2, "as hits_multi for the largest contour and any GT box"),
    "hits_single_first": Column("|u1", 2, "as hits_multi for the largest contour and the first GT box"),
    "n_boxes": Column(
        "<i4", 0, "ground-truth boxes of the image; where given, images with 0 are no part of box scores"
    ),
    "pixel_histogram": Column("<u4", 2, "(2,K): pixels per threshold bin, row 0 background, row 1 object"),
    "y": Column("<f8", 0, "fidelity score of the target on the image"),
    "o": Column("<f8", 0, "fidelity score of the target on the masked image"),
    "evidence_precision": Column("<f8", 0, "share of the positive map's mass on the evidence mask, 0 to 1"),
    MAP: Column("<f2", 2, "(h,w): low-resolution score map before resizing, scaled to [0, 1] or raw"),
}

REQUIRED = ("image_id", "index", "label", "predicted", "target", "degenerate", "peak")


def expected_columns(manifest: RunManifest) -> tuple[str, ...]:
    """Columns that every row of a run must have, given what its data set supports."""
    data = manifest.dataset
    names: tuple[str, ...] = REQUIRED
    if data.has_boxes:
        names += HITS
    if data.has_masks:
        names += ("pixel_histogram",)
    if data.has_evidence:
        names += ("evidence_precision",)
    if manifest.protocol.loc_reference == "percentile":
        names += ("reference",)
    return names


def empty_columns(manifest: RunManifest) -> dict[str, Array]:
    """Columns of a shard none of whose images could be read: no rows, so that the shard still counts as done."""
    scored = ("y", "o") if manifest.options.get("fidelity", True) else ()
    names = [*expected_columns(manifest), *scored, *(("n_boxes",) if manifest.dataset.has_boxes else ())]
    shapes = dict.fromkeys(HITS, (len(manifest.hit_thresholds), LEVEL_BYTES))
    found: dict[str, Array] = {}
    for name in names:
        column = COLUMNS[name]
        dtype = object if column.dtype == "str" else column.dtype
        found[name] = np.empty((0, *shapes.get(name, (1,) * column.ndim)), dtype=dtype)
    return found


def check_columns(triple: str, columns: Mapping[str, Array], manifest: RunManifest) -> dict[str, Array]:
    """The columns in their stored dtypes and order; ``RecordError`` names what is missing, unknown or misshapen."""
    missing = [name for name in expected_columns(manifest) if name not in columns]
    if missing:
        raise RecordError(f"records of {triple}: missing column(s) {', '.join(missing)}")
    count = len(columns["index"])
    order = [name for name in COLUMNS if name in columns] + sorted(n for n in columns if n.startswith(EXTRA))
    unknown = sorted(columns.keys() - set(order))
    if unknown:
        raise RecordError(f"records of {triple}: unknown column(s) {', '.join(unknown)}; use the prefix {EXTRA!r}")
    checked: dict[str, Array] = {}
    for name in order:
        value = np.asarray(columns[name])
        column = COLUMNS.get(name, _EXTRA_COLUMN)
        if len(value) != count or value.ndim != column.ndim + 1:
            raise RecordError(
                f"records of {triple}: column {name} has shape {value.shape}, expected {count} rows "
                f"of {column.ndim} dimension(s)"
            )
        checked[name] = _cast(triple, name, value, _stored_dtype(name, column, manifest))
    _check_hits(triple, checked, len(manifest.hit_thresholds))
    return checked


def _stored_dtype(name: str, column: Column, manifest: RunManifest) -> str:
    # A bin holds at most all pixels of a map, which two bytes can count up to 255 x 255 pixels.
    small = name == "pixel_histogram" and manifest.protocol.size**2 < 2**16
    return "<u2" if small else column.dtype


_EXTRA_COLUMN = Column("<f8", 0, "a further metric's value of the image")


def _cast(triple: str, name: str, value: Array, dtype: str) -> Array:
    if dtype == "str":
        return value.astype(object)
    if name == MAP and value.dtype in (np.float32, np.float64):
        return value
    if np.issubdtype(value.dtype, np.floating) and np.dtype(dtype).kind in "iu":
        raise RecordError(f"records of {triple}: column {name} must be integers, got {value.dtype}")
    cast = value.astype(dtype)
    if np.dtype(dtype).kind in "iu" and not np.array_equal(cast, value):
        raise RecordError(f"records of {triple}: column {name} has values outside {np.dtype(dtype)}")
    return cast


def _check_hits(triple: str, columns: Mapping[str, Array], thresholds: int) -> None:
    for name in HITS:
        if name in columns and columns[name].shape[1:] != (thresholds, LEVEL_BYTES):
            raise RecordError(
                f"records of {triple}: column {name} has {columns[name].shape[1:]} bytes per image, "
                f"expected ({thresholds}, {LEVEL_BYTES}): one row per IoU threshold of the manifest"
            )


def sorted_rows(triple: str, columns: dict[str, Array], expected: Array, shard: int) -> dict[str, Array]:
    """Columns in the order of the data set's rows, which must be exactly ``expected``.

    Raises:
        RecordError: Rows are missing, foreign, or occur twice.
    """
    order = np.argsort(columns["index"], kind="stable")
    index = columns["index"][order]
    if not np.array_equal(index, expected):
        lost, foreign = np.setdiff1d(expected, index), np.setdiff1d(index, expected)
        what = f"lost rows {lost[:5].tolist()}" if len(lost) else f"unexpected rows {foreign[:5].tolist()}"
        if not len(lost) and not len(foreign):
            what = "rows that occur twice"
        raise RecordError(f"records of {triple}, shard {shard}: {what}; rows and failures must be the shard's images")
    return {name: value[order] for name, value in columns.items()}
