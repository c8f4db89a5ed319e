"""Columns of samples, checked in bulk and written as Arrow record batches of the one schema."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import datasets as hf
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..disk.archives import is_member, split_member

Ints = npt.NDArray[np.int64]
Picture = str | bytes
"""Path or archive member of a picture, or its encoded bytes (masks that are drawn from annotations)."""


@dataclass
class Chunk:
    """Some rows, column by column.

    ``widths``/``heights``: pixels that the boxes refer to, 0 where only the file knows. ``boxes``: (M,4) float64 of all
    rows, row i having ``box_offsets[i]:box_offsets[i+1]``. ``masks``, ``ignores``: of each row, paths or encoded
    pictures. ``sizes``: bytes of each image file, -1 where missing.
    """

    ids: list[str]
    paths: list[str]
    labels: Ints
    widths: Ints | None = None
    heights: Ints | None = None
    boxes: npt.NDArray[np.float64] | None = None
    box_offsets: Ints | None = None
    masks: Sequence[Sequence[Picture]] | None = None
    ignores: Sequence[Picture | None] | None = None
    sizes: Ints | None = None
    lines: Ints | None = field(default=None, repr=False)
    """Line (or row) of each label in ``label_file``, for messages."""
    label_file: str = ""
    headers_read: bool = False
    """Whether widths and heights come from the files' headers: 0 then means that there is none."""

    file_sizes: Ints | None = field(default=None, repr=False)
    """Pixels (N,2) of the files' pictures, 0 where there is no header; None where they were not read."""

    relative: bool = False
    """Whether the boxes were fractions of their pictures: then widths and heights are right, whatever they are."""

    def __len__(self) -> int:
        return len(self.ids)

    def box_counts(self) -> Ints:
        """Boxes of each row."""
        if self.box_offsets is None:
            return np.zeros(len(self), np.int64)
        return np.diff(self.box_offsets)

    def take(self, keep: Ints) -> Chunk:
        """The rows ``keep``, in that order."""
        boxes, offsets = self.boxes, self.box_offsets
        if boxes is not None and offsets is not None:
            counts = np.diff(offsets)[keep]
            starts = offsets[:-1][keep]
            new = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            source = np.repeat(starts - new[:-1], counts) + np.arange(int(new[-1]))
            boxes, offsets = boxes[source], new
        return Chunk(
            ids=[self.ids[i] for i in keep],
            paths=[self.paths[i] for i in keep],
            labels=self.labels[keep],
            widths=None if self.widths is None else self.widths[keep],
            heights=None if self.heights is None else self.heights[keep],
            boxes=boxes,
            box_offsets=offsets,
            masks=None if self.masks is None else [self.masks[i] for i in keep],
            ignores=None if self.ignores is None else [self.ignores[i] for i in keep],
            sizes=None if self.sizes is None else self.sizes[keep],
            lines=None if self.lines is None else self.lines[keep],
            label_file=self.label_file,
            headers_read=self.headers_read,
            file_sizes=None if self.file_sizes is None else self.file_sizes[keep],
            relative=self.relative,
        )


def group_boxes(owner: Ints, boxes: npt.NDArray[np.float64], rows: int) -> tuple[npt.NDArray[np.float64], Ints]:
    """Boxes sorted by owning row (order kept within a row) and the offsets (rows+1,) of each row's boxes."""
    order = np.argsort(owner, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=rows))]).astype(np.int64)
    return boxes[order], offsets


def record_batch(chunk: Chunk, features: hf.Features) -> pa.RecordBatch:
    """The chunk as one Arrow record batch of the schema."""
    schema, n = features.arrow_schema, len(chunk)
    columns: dict[str, Any] = {
        "image_id": pa.array(chunk.ids, pa.string()),
        "image": _pictures(chunk.paths),
        "label": pa.array(chunk.labels, pa.int64()),
        "width": _sizes(chunk.widths, n),
        "height": _sizes(chunk.heights, n),
        "boxes": _boxes(chunk, schema.field("boxes").type),
        "masks": _mask_lists(chunk),
        "ignore": _pictures(chunk.ignores) if chunk.ignores else pa.nulls(n, schema.field("ignore").type),
        "evidence": pa.nulls(n, schema.field("evidence").type),
    }
    return pa.record_batch([columns[name] for name in schema.names], schema=schema)


def _pictures(pictures: Sequence[Picture | None]) -> pa.StructArray:
    paths = pa.array([p if isinstance(p, str) else None for p in pictures], pa.string())
    data = pa.array([p if isinstance(p, bytes) else None for p in pictures], pa.binary())
    absent = pa.array([p is None for p in pictures], pa.bool_())
    return pa.StructArray.from_arrays([data, paths], names=["bytes", "path"], mask=absent)


def _sizes(values: Ints | None, n: int) -> pa.Array:
    if values is None:
        return pa.nulls(n, pa.int32())
    return pa.array(values.astype(np.int32), mask=values <= 0)


def _boxes(chunk: Chunk, kind: pa.DataType) -> pa.Array:
    if chunk.boxes is None or chunk.box_offsets is None:
        return pa.array([[]] * len(chunk), kind)
    flat = pa.FixedSizeListArray.from_arrays(pa.array(chunk.boxes.ravel(), pa.float64()), 4)
    return pa.ListArray.from_arrays(pa.array(chunk.box_offsets, pa.int32()), flat)


def _mask_lists(chunk: Chunk) -> pa.ListArray:
    masks = chunk.masks if chunk.masks is not None else [[] for _ in chunk.ids]
    offsets = np.concatenate([[0], np.cumsum([len(m) for m in masks], dtype=np.int64)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), _pictures([p for m in masks for p in m]))


def update_digest(digest: hashlib._Hash, chunk: Chunk) -> None:
    """Fold everything of the rows that can change a number into ``digest``: not where the files lie."""
    digest.update("\0".join(chunk.ids).encode("utf-8", "surrogateescape"))
    for column in (chunk.labels, chunk.widths, chunk.heights, chunk.boxes, chunk.box_counts(), chunk.sizes):
        digest.update(b"-" if column is None else np.ascontiguousarray(column).tobytes())
    for mask, ignore in zip(chunk.masks or (), chunk.ignores or (None,) * len(chunk.masks or ()), strict=True):
        digest.update("|".join([*(_name(m) for m in mask), _name(ignore or "")]).encode())


def _name(path: Picture) -> str:
    if isinstance(path, bytes):
        return hashlib.sha256(path).hexdigest()
    return PurePath(split_member(path)[2] if is_member(path) else path).name
