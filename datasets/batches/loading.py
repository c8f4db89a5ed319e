"""From table rows to batches: parallel decode and resize, in order, a few batches ahead of the consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...opener import Exif
from ..schema import Batch, ImageFailure, SampleTable
from .decoded_cache import stamp_of
from .geometry import centre, combine_masks, resize_boxes, resize_nearest
from .images import UnreadableImageError, decode_mask, decode_rgb

PREFETCH = 3
"""Batches that may be decoded ahead of the consumer."""
_Picture = tuple[npt.NDArray[np.uint8], tuple[int, int]]
"""Pixels (R,R,3), and width and height of the picture that they were made of."""


@dataclass(frozen=True)
class _Decoded:
    pixels: npt.NDArray[np.uint8]
    boxes: npt.NDArray[np.int64]
    mask: npt.NDArray[np.uint8] | None
    evidence: npt.NDArray[np.bool_] | None


def load_batches(
    table: SampleTable,
    rows: Sequence[int] | range,
    size: int,
    batch_size: int,
    workers: int,
    *,
    masks: bool = True,
    pin: bool = False,
    crop_from: int | None = None,
) -> Iterator[Batch]:
    """Batches of the given rows, in their order, decoded by ``workers`` threads (Pillow releases the GIL).

    Images are squashed to R×R with Pillow's bilinear resize, exactly torchvision's of the PIL image. An image that
    cannot be decoded is a ``Batch.failures`` entry and in none of the tensors: such a batch is smaller, maybe empty.

    Args:
        table: The split.
        rows: Row numbers of ``table``.
        size: Working size R in pixels.
        batch_size: Rows a batch (before failures).
        workers: Decoding threads; 0 decodes in the caller's thread.
        masks: Decode masks and evidence masks where the split has them.
        pin: Put the image tensors into page-locked memory (needs a CUDA device).
        crop_from: Side that images and masks are squashed to, of which R×R is the centre; None: R.

    Raises:
        ValueError: ``batch_size`` or ``size`` is not positive, or ``workers`` is negative.
    """
    if batch_size < 1 or size < 1 or workers < 0:
        raise ValueError(f"batch_size {batch_size} and size {size} must be at least 1, workers {workers} at least 0")
    starts = range(0, len(rows), batch_size)
    if workers == 0:
        for start in starts:
            yield _decode_batch(table, rows[start : start + batch_size], (size, crop_from), masks, pin, None)
        return
    # One thread assembles a batch while `workers` threads decode the images of this and the next ones.
    with ThreadPoolExecutor(workers, "decode") as pool, ThreadPoolExecutor(PREFETCH, "assemble") as assembly:
        pending: deque[Future[Batch]] = deque()
        try:
            for start in starts:
                chosen = rows[start : start + batch_size]
                pending.append(assembly.submit(_decode_batch, table, chosen, (size, crop_from), masks, pin, pool))
                if len(pending) >= PREFETCH:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _decode_batch(
    table: SampleTable,
    rows: Sequence[int] | range,
    frame: tuple[int, int | None],
    masks: bool,
    pin: bool,
    pool: ThreadPoolExecutor | None,
) -> Batch:
    size, crop_from = frame
    indices = [int(r) for r in rows]
    records = _records(table, indices)
    want_mask, want_evidence = masks and table.has_masks, masks and table.has_evidence

    def work(row: int, record: Mapping[str, Any]) -> _Decoded | UnreadableImageError:
        try:
            picture = _picture(table, row, record, size, crop_from)
            return _annotated(record, picture, (size, crop_from), want_mask, want_evidence, table.exif)
        except UnreadableImageError as error:
            return error

    decoded = list(pool.map(work, indices, records)) if pool else list(map(work, indices, records))
    good = [(i, r, d) for i, r, d in zip(indices, records, decoded, strict=True) if isinstance(d, _Decoded)]
    failures = tuple(
        ImageFailure(r["image_id"], i, str(d))
        for i, r, d in zip(indices, records, decoded, strict=True)
        if isinstance(d, UnreadableImageError)
    )
    images = torch.empty((len(good), 3, size, size), dtype=torch.uint8, pin_memory=pin)
    for slot, (_, _, item) in zip(images, good, strict=True):
        slot.copy_(_tensor(item.pixels).permute(2, 0, 1))
    return Batch(
        image_ids=tuple(r["image_id"] for _, r, _ in good),
        index=torch.tensor([i for i, _, _ in good], dtype=torch.int64),
        images=images,
        labels=torch.tensor([r["label"] for _, r, _ in good], dtype=torch.int64),
        gt_boxes=[d.boxes for _, _, d in good],
        masks=_stack([d.mask for _, _, d in good], size, torch.uint8) if want_mask else None,
        evidence=_stack([d.evidence for _, _, d in good], size, torch.bool) if want_evidence else None,
        failures=failures,
    )


def _records(table: SampleTable, indices: list[int]) -> list[dict[str, Any]]:
    columns = table.rows[indices]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _picture(table: SampleTable, row: int, record: Mapping[str, Any], size: int, crop_from: int | None) -> _Picture:
    """Of a row of the table: from where it is kept, or decoded, and kept then."""
    kept = table.decoded
    stamp = stamp_of(record) if kept is not None and kept.frame == (size, crop_from) else None
    if kept is None or stamp is None:
        return _decoded(record, size, crop_from, table.exif)
    found = kept.get(row, stamp)
    if found is None:
        found = _decoded(record, size, crop_from, table.exif)
        kept.put(row, stamp, *found)
    return found


def _decoded(record: Mapping[str, Any], size: int, crop_from: int | None, exif: Exif) -> _Picture:
    pixels, stated = decode_rgb(record["image"], crop_from or size, exif)
    return centre(pixels, size), stated


def _annotated(
    record: Mapping[str, Any],
    picture: _Picture,
    frame: tuple[int, int | None],
    masks: bool,
    evidence: bool,
    exif: Exif,
) -> _Decoded:
    """A row's pixels with its boxes and masks at the working size."""
    (pixels, (width, height)), (size, crop_from) = picture, frame
    side = crop_from or size
    # Boxes belong to the size that the annotations state; the file may be a resized copy.
    stated = record["width"] or width, record["height"] or height
    boxes = resize_boxes(record["boxes"] or [], *stated, size, crop_from)
    mask = part = None
    if masks:
        ignore = _mask(record["ignore"], "ignore mask", exif) if record["ignore"] else None
        mask = centre(combine_masks((_mask(m, "mask", exif) for m in record["masks"] or []), ignore, side), size)
    if evidence:
        grey = _mask(record["evidence"], "evidence mask", exif) if record["evidence"] else np.zeros((1, 1), np.uint8)
        part = centre(np.asarray(resize_nearest(grey, side) > 0), size)
    return _Decoded(pixels, boxes, mask, part)


def _mask(picture: Mapping[str, Any], kind: str, exif: Exif) -> npt.NDArray[np.uint8]:
    try:
        return decode_mask(picture, exif)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{kind} {picture.get('path') or '(bytes)'}: {error}") from error


def _tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _stack(arrays: Sequence[npt.NDArray[Any] | None], size: int, dtype: torch.dtype) -> torch.Tensor:
    if not arrays:
        return torch.empty((0, size, size), dtype=dtype)
    return torch.from_numpy(np.stack([a for a in arrays if a is not None]))
