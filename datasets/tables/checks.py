"""Checks that hold for every data set, in bulk: ids, labels, boxes, sizes, files on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from ...opener import formats, is_other_picture, is_picture
from ..disk.files import MISSING, UNREADABLE, FileIndex
from ..findings import EXAMPLES, Findings, some
from ..schema import DatasetError
from .ids import is_utf8
from .rows import Chunk, Ints

MAX_CLASSES = 100_000
FAR = 2.0**31
"""Coordinates at least this large are no pixels; the evaluator's 64-bit integers could not hold them."""
DAMAGED, LINKS = 1000, 1000
"""How many damaged files are watched for a repair; how many missing files of a chunk are looked at for links."""


def _is_link(path: str) -> bool:
    return Path(path).is_symlink() or Path(path).parent.is_symlink()


def _shown_link(path: str) -> str:
    link = Path(path) if Path(path).is_symlink() else Path(path).parent
    return f"{link} → {link.readlink()}"


def check_masks(names: Sequence[str], sizes: npt.ArrayLike, findings: Findings) -> None:
    """Warn of mask files of 0 bytes."""
    empty = [n for n, size in zip(names, np.asarray(sizes).tolist(), strict=True) if size == 0]
    if empty:
        fix = "fetch them again; a run counts and names their images and scores nothing on them"
        findings.warn(f"{len(empty):,} mask files are empty (0 bytes): {some(empty)}", fix=fix, count=len(empty))


def check_listed(index: FileIndex, paths: Sequence[str], where: object, findings: Findings) -> None:
    """Warn of images on disk that the list does not name, in the folders of those that it does."""
    listed: dict[str, set[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        listed.setdefault(folder, set()).add(name)
    extra = [
        name
        for folder, names in listed.items()
        for name in sorted(set(index.folder(folder)) - names)
        if is_picture(name)
    ]
    if extra:
        what = f"{len(extra):,} images on disk have no line here: {some(extra)}"
        findings.warn(what, where, "is the file truncated? they are not in the data set", len(extra))


class LeftOut:
    """Pictures in folders whose files are the rows, in formats that are not opened: told, not passed over."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[str] = []
        self._lock = Lock()

    def add(self, names: Iterable[str]) -> None:
        """Look through the names of a folder's files."""
        found = sorted(n for n in names if is_other_picture(n))
        with self._lock:
            self.count += len(found)
            self.examples += found[: EXAMPLES + 1 - len(self.examples)]

    def report(self, where: object, findings: Findings) -> None:
        """Warn of them, once."""
        if self.count:
            what = f"{self.count:,} pictures are left out, in formats that are not opened: "
            fix = f"convert them to one of {', '.join(formats())}"
            findings.warn(f"{what}{some(self.examples, self.count)}", where, fix, self.count)


def check_class_count(count: int, where: object) -> None:
    """``DatasetError`` where whole-number labels mean more classes than any data set has: names are made for all."""
    if count > MAX_CLASSES:
        raise DatasetError(
            f"{where}: the largest label, {count - 1:,}, means {count:,} classes; labels are 0-based class indices, at "
            f"most {MAX_CLASSES:,} classes. Is it the id of something else?"
        )


def check_names(names: Sequence[str], findings: Findings) -> None:
    """Class names are UTF-8 (they may be folder names) and distinct.

    Raises:
        DatasetError: Two classes have one name: there is no table of such classes.
    """
    bad = [n for n in names if not is_utf8(n)]
    if bad:
        findings.error(
            f"{len(bad)} class names are not UTF-8: {some([repr(b) for b in bad])}", fix="rename the folders"
        )
    if len(set(names)) < len(names):
        twice = [n for n, count in Counter(names).items() if count > 1]
        findings.error(f"{len(twice)} class names are those of several classes: {some(twice)}", count=len(twice))
        findings.raise_errors("class names")


class Tally:
    """How often something was found over all chunks, and the first examples."""

    def __init__(self) -> None:
        self.count = 0
        self._examples: list[str] = []

    def add(self, rows: Ints, name: Callable[[int], str]) -> None:
        """Count ``rows``; ``name`` describes one of them."""
        self.count += rows.size
        self._examples += [name(int(r)) for r in rows[: EXAMPLES + 1 - len(self._examples)]]

    def __str__(self) -> str:
        return some(self._examples, self.count)


class RowChecks:
    """Labels in range; boxes finite, ordered and (a warning only) inside the image; files readable and not empty.

    Counted over all chunks and reported once, by ``close``: memory and the report do not grow with the chunks.
    """

    def __init__(self, classes: int, findings: Findings) -> None:
        self.classes, self.findings = classes, findings
        self.boxes = 0
        self.labels, self.broken, self.turned, self.outside, self.empty, self.denied = (Tally() for _ in range(6))
        self.headerless, self.links, self.twice, self.flat = Tally(), Tally(), Tally(), Tally()
        self.damaged: list[str] = []
        """Paths of (the first) files that are empty or no pictures: they may be replaced in place."""
        self._label_place = self._denied_folder = ""

    def add(self, chunk: Chunk) -> None:
        """Check one chunk."""
        # Pictures without labels have no classes either.
        bad = np.flatnonzero((chunk.labels < (0 if self.classes else -1)) | (chunk.labels >= self.classes))
        self.labels.add(bad, lambda i: f"{chunk.ids[i]} has {chunk.labels[i]}")
        if bad.size and not self._label_place and chunk.lines is not None:
            self._label_place = f"{chunk.label_file}:{chunk.lines[bad[0]]}"
        if chunk.boxes is not None and chunk.box_offsets is not None and len(chunk.boxes):
            self._add_boxes(chunk, chunk.boxes, np.repeat(np.arange(len(chunk)), chunk.box_counts()))

    def _add_boxes(self, chunk: Chunk, boxes: npt.NDArray[np.float64], owner: Ints) -> None:
        def name(row: int) -> str:
            return f"{chunk.ids[owner[row]]} {boxes[row].tolist()}"

        self.boxes += len(boxes)
        self.broken.add(np.flatnonzero(~(np.abs(boxes) < FAR).all(1)), name)
        self.turned.add(np.flatnonzero((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])), name)
        self.flat.add(np.flatnonzero((boxes[:, 2] == boxes[:, 0]) | (boxes[:, 3] == boxes[:, 1])), name)
        _, first = np.unique(np.column_stack([owner, boxes]), axis=0, return_index=True)
        self.twice.add(np.setdiff1d(np.arange(len(boxes)), first), name)
        outside = (boxes < 0).any(1)
        if chunk.widths is not None and chunk.heights is not None:
            known = (chunk.widths > 0)[owner]
            outside |= known & ((boxes[:, 2] > chunk.widths[owner]) | (boxes[:, 3] > chunk.heights[owner]))
        self.outside.add(np.flatnonzero(outside), name)

    def split_missing(self, chunk: Chunk) -> tuple[Chunk, list[str]]:
        """The rows whose image is on disk, and the ids of the others; empty and unreadable files are counted."""
        if chunk.sizes is None:
            return chunk, []
        empty = np.flatnonzero(chunk.sizes == 0)
        self.empty.add(empty, lambda i: chunk.ids[i])
        bad = np.flatnonzero((chunk.sizes > 0) & (chunk.widths == 0)) if chunk.headers_read else empty[:0]
        self.headerless.add(bad, lambda i: chunk.ids[i])
        self.damaged += [chunk.paths[i] for i in (*empty, *bad)][: DAMAGED - len(self.damaged)]
        denied = np.flatnonzero(chunk.sizes == UNREADABLE)
        self.denied.add(denied, lambda i: chunk.ids[i])
        if denied.size and not self._denied_folder:
            self._denied_folder = chunk.paths[int(denied[0])].rpartition("/")[0]
        gone = chunk.sizes <= MISSING
        if not gone.any():
            return chunk, []
        absent = np.flatnonzero(chunk.sizes == MISSING)
        leading_nowhere = [i for i in absent[:LINKS] if _is_link(chunk.paths[i])]
        self.links.add(np.array(leading_nowhere, np.int64), lambda i: _shown_link(chunk.paths[i]))
        lost = [chunk.ids[i] for i in absent]
        return chunk.take(np.flatnonzero(~gone)), lost

    def close(self) -> None:
        """Report what was found."""
        self._error(
            self.labels,
            f"labels are outside 0 … {self.classes - 1}",
            "labels are 0-based class indices; check the class list or num_classes",
            self._label_place,
        )
        self._error(self.broken, "boxes have a coordinate that is not a number, or far beyond any image")
        self._error(self.turned, "boxes end before they start", "boxes are x0,y0,x1,y1 (corners, not width and height)")
        if self.flat.count:
            what = f"{self.flat.count:,} boxes have no width or no height: {self.flat}"
            self.findings.warn(
                what, fix="an object has at least one pixel: mend them or remove them", count=self.flat.count
            )
        if self.twice.count:
            what = f"{self.twice.count:,} boxes are listed twice (kept as published): {self.twice}"
            self.findings.warn(what, fix="no score changes by it", count=self.twice.count)
        if self.outside.count:
            self.findings.warn(
                f"{self.outside.count:,} of {self.boxes:,} boxes reach outside the image (kept as published): "
                f"{self.outside}",
                count=self.outside.count,
            )
        if self.empty.count:
            self.findings.warn(
                f"{self.empty.count:,} image files are empty (0 bytes): {self.empty}",
                fix="fetch them again; a run counts and names them and scores nothing on them",
                count=self.empty.count,
            )
        if self.headerless.count:
            self.findings.warn(
                f"{self.headerless.count:,} image files do not begin like a picture: {self.headerless}",
                fix="fetch them again; a run counts and names them and scores nothing on them",
                count=self.headerless.count,
            )
        if self.links.count:
            self.findings.warn(
                f"symbolic links that lead nowhere, or to themselves: {self.links}",
                fix="repair the links",
                count=self.links.count,
            )
        if self.denied.count:
            folder = self._denied_folder
            self.findings.error(
                f"permission denied: {self.denied.count:,} images lie in folders that cannot be listed, the first in "
                f"{folder}",
                fix=f"chmod -R u+rX {folder}",
                count=self.denied.count,
            )

    def _error(self, tally: Tally, what: str, fix: str = "", where: str = "") -> None:
        if tally.count:
            self.findings.error(f"{tally.count:,} {what}: {tally}", where, fix, tally.count)
