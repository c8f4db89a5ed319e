"""Checks that hold for every data set, in bulk: ids, labels, boxes, sizes, files on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .files import MISSING, UNREADABLE
from .findings import Findings, some
from .rows import Chunk


def check_names(names: Sequence[str], findings: Findings) -> None:
    """Class names are UTF-8 (they may be folder names)."""
    bad = [n for n in names if not _is_utf8(n)]
    if bad:
        findings.error(
            f"{len(bad)} class names are not UTF-8: {some([repr(b) for b in bad])}", fix="rename the folders"
        )


class IdCheck:
    """Ids occur once and are UTF-8. Over chunks only a 64-bit hash of each id is kept, so that memory stays small."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.total = 0
        self._hashes: list[npt.NDArray[np.int64]] = []

    def add(self, ids: Sequence[str]) -> None:
        """Check one chunk's ids."""
        self.total += len(ids)
        self._hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
        if len(set(ids)) < len(ids):
            twice = [i for i, n in Counter(ids).items() if n > 1]
            self._report(f"{some(twice)}", len(twice))
        bad = [i for i in ids if not _is_utf8(i)]
        if bad:
            self.findings.error(
                f"{len(bad):,} file names are not UTF-8: {some([repr(b) for b in bad])}",
                fix="rename them (convmv -f latin1 -t utf8 …), or extract the archive with a UTF-8 locale",
                count=len(bad),
            )

    def close(self) -> None:
        """Check that no id occurs in two chunks."""
        if len(self._hashes) > 1:
            several = self.total - len(np.unique(np.concatenate(self._hashes)))
            if several and not self.findings.of("error"):
                self._report("in different folders", several)

    def _report(self, which: str, count: int) -> None:
        self.findings.error(
            f"{count:,} image ids occur more than once: {which}", fix="remove the duplicate lines or files", count=count
        )


def _is_utf8(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def check_chunk(chunk: Chunk, classes: int, findings: Findings) -> None:
    """Labels in range; boxes finite, ordered, and (a warning only) inside the image."""
    bad = np.flatnonzero((chunk.labels < 0) | (chunk.labels >= classes))
    if bad.size:
        findings.error(
            f"{bad.size:,} labels are outside 0 … {classes - 1}: "
            + some([f"{chunk.ids[i]} has {chunk.labels[i]}" for i in bad]),
            fix="labels are 0-based class indices; check the class list or num_classes",
            count=int(bad.size),
        )
    if chunk.boxes is not None and chunk.box_offsets is not None and len(chunk.boxes):
        _check_boxes(chunk, chunk.boxes, np.repeat(np.arange(len(chunk)), chunk.box_counts()), findings)


def _check_boxes(
    chunk: Chunk, boxes: npt.NDArray[np.float64], owner: npt.NDArray[np.int64], findings: Findings
) -> None:
    def name(rows: npt.NDArray[np.int64]) -> str:
        return some([f"{chunk.ids[owner[r]]} {boxes[r].tolist()}" for r in rows[:6]], rows.size)

    broken = np.flatnonzero(~np.isfinite(boxes).all(1))
    if broken.size:
        findings.error(
            f"{broken.size:,} boxes have a coordinate that is not a number: {name(broken)}", count=broken.size
        )
    turned = np.flatnonzero((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1]))
    if turned.size:
        findings.error(
            f"{turned.size:,} boxes end before they start: {name(turned)}",
            fix="boxes are x0,y0,x1,y1 (corners, not width and height)",
            count=turned.size,
        )
    outside = (boxes < 0).any(1)
    if chunk.widths is not None and chunk.heights is not None:
        known = (chunk.widths > 0)[owner]
        outside |= known & ((boxes[:, 2] > chunk.widths[owner]) | (boxes[:, 3] > chunk.heights[owner]))
    rows = np.flatnonzero(outside)
    if rows.size:
        findings.warn(
            f"{rows.size:,} of {len(boxes):,} boxes reach outside the image (kept as published): {name(rows)}",
            count=rows.size,
        )


def split_missing(chunk: Chunk, findings: Findings) -> tuple[Chunk, list[str]]:
    """The rows whose image is on disk, and the ids of the others; empty and unreadable files are reported."""
    if chunk.sizes is None:
        return chunk, []
    empty = np.flatnonzero(chunk.sizes == 0)
    if empty.size:
        findings.warn(
            f"{empty.size:,} image files are empty (0 bytes): {some([chunk.ids[i] for i in empty[:6]], empty.size)}",
            fix="fetch them again; a run counts and names them and scores nothing on them",
            count=int(empty.size),
        )
    denied = np.flatnonzero(chunk.sizes == UNREADABLE)
    if denied.size:
        folder = chunk.paths[int(denied[0])].rpartition("/")[0]
        findings.error(
            f"permission denied: {denied.size:,} images lie in folders that cannot be listed, the first in {folder}",
            fix=f"chmod -R u+rX {folder}",
            count=int(denied.size),
        )
    gone = chunk.sizes <= MISSING
    if not gone.any():
        return chunk, []
    lost = [chunk.ids[i] for i in np.flatnonzero(chunk.sizes == MISSING)]
    return chunk.take(np.flatnonzero(~gone)), lost
