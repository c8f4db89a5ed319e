"""Which picture size the boxes belong to: stated by the annotations, given by the user, or that of the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ...opener import Exif
from ..disk.textfiles import csv_rows, shorten
from ..findings import Findings, OptionError, some
from .headers import read_sizes
from .rows import Chunk, Ints

SIZE_OPTION = {
    "sizes": "picture sizes that the boxes belong to, where the annotations state none: a file of lines "
    "`image,width,height` (as wsolevaluation's image_sizes.txt), or `files`: the boxes are in the files' pixels"
}
FILES = "files"
SAMPLE, PER_CHUNK = 2048, 512
"""How many headers are compared with the boxes of a data set, and of one chunk, where the table needs none of them."""
MISFIT_SHARE = 0.1
"""Share of boxes beyond their picture from which the picture is another one. Of the 127,982 boxes that are published
with sizes (CUB, CUBV2, Cars, ImageNet's validation, ImageNetV2) none reaches more than a pixel beyond it."""
TOLERANCE = 0.01
"""Share of a side, at least one pixel, by which an annotator's box may reach beyond its picture."""
ENOUGH = 10
"""Pictures from which one common size is no chance: 31 % of ImageNet's validation images are 500 × 375."""
USUAL_SIDE = 500
"""The side that photographs from Flickr share (the longer side of 93 % of CUB, of all of ImageNetV2)."""


@dataclass(frozen=True)
class Published:
    """What is known of a published set's picture sizes. ``name``: for messages; ``longest``: the longest side."""

    name: str
    longest: int | None = None


def sizes_file(options: Mapping[str, Any]) -> Path | None:
    """The file that the option ``sizes`` names; OptionError where it is not there."""
    named = options.get("sizes")
    if named is None or str(named) == FILES:
        return None
    path = Path(str(named)).expanduser()
    if not path.is_file():
        raise OptionError(f"sizes={named}: no such file; expected lines `image,width,height`, or sizes=files")
    return path


def slack(sides: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """How far, in pixels, an annotator's box may reach beyond sides of these lengths in pixels, in the same shape."""
    reach: npt.NDArray[np.float64] = np.maximum(1.0, TOLERANCE * sides)
    return reach


class BoxSizes:
    """Settles, chunk by chunk, the picture size of the boxes, and refuses sets whose boxes belong to other pictures.

    Boxes scale from the size of their picture to the working size, so copies of any size are right as long as the
    original's size is known. Where the annotations state none, the size of the file is taken, which is wrong without a
    word for resized copies: they are known by boxes that do not fit and, in a published set of photographs of many
    sizes, by one size of all files.

    Args:
        options: The adapter's options; ``sizes`` is read.
        findings: Receives what is found, at ``close``.
        published: The published set, whose pictures have many sizes; None for people's own images.
    """

    def __init__(self, options: Mapping[str, Any], findings: Findings, published: Published | None = None) -> None:
        path = sizes_file(options)
        self.trusted = str(options.get("sizes")) == FILES
        self.given = GivenSizes(path, findings) if path is not None else None
        self.exif: Exif = "apply" if options.get("exif") == "apply" else "ignore"
        self.findings, self.published = findings, published
        self._left = SAMPLE
        self._seen: list[Ints] = []
        self._boxes = self._misfits = self._unstated = self._compared = self._differing = 0
        self._stated = False
        self._examples: list[str] = []
        self._differ: list[str] = []
        self._turned: list[str] = []
        self._relative = False

    def settle(self, chunk: Chunk) -> None:
        """Fill the chunk's widths and heights where another source than the files gives them, and compare."""
        if chunk.boxes is None or not len(chunk):
            return
        if chunk.relative:
            self._relative = True
            return
        if self.given is not None:
            self.given.apply(chunk)
        elif self.trusted and not chunk.headers_read:
            chunk.widths = chunk.heights = None
        if chunk.headers_read and chunk.widths is not None and chunk.heights is not None:
            self._compare(chunk, np.arange(len(chunk)), np.stack([chunk.widths, chunk.heights], 1))
            return
        rows = self._sample(chunk)
        found = np.stack(read_sizes([chunk.paths[i] for i in rows], exif=self.exif), 1)
        if chunk.widths is None or chunk.heights is None:
            self._compare(chunk, rows, found)
        else:
            self._contrast(chunk, rows, found)

    def _sample(self, chunk: Chunk) -> Ints:
        """Rows whose headers are read: files that are there, evenly over the chunk."""
        there = np.arange(len(chunk)) if chunk.sizes is None else np.flatnonzero(chunk.sizes > 0)
        count = min(len(there), PER_CHUNK, self._left)
        self._left -= count
        return there[np.linspace(0, len(there) - 1, count).astype(np.int64)] if count else there[:0]

    def _compare(self, chunk: Chunk, rows: Ints, found: Ints) -> None:
        """Boxes in the pixels of the files."""
        known = found[:, 0] > 0
        self._seen.append(found[known])
        self._fit(chunk, rows[known], found[known])

    def _contrast(self, chunk: Chunk, rows: Ints, found: Ints) -> None:
        """Stated sizes beside those of the files."""
        assert chunk.widths is not None
        assert chunk.heights is not None
        stated = np.stack([chunk.widths, chunk.heights], 1)
        self._stated = True
        have = stated[rows, 0] > 0
        both = have & (found[:, 0] > 0)
        other = both & (np.abs(stated[rows] - found) > 1).any(1)
        turned = other & (np.abs(stated[rows][:, ::-1] - found) <= 1).all(1)
        self._compared += int(both.sum())
        self._differing += int(other.sum())
        self._differ += [_contrasted(chunk, rows[i], found[i], stated) for i in np.flatnonzero(other)[:6]]
        self._turned += [_contrasted(chunk, rows[i], found[i], stated) for i in np.flatnonzero(turned)]
        self._unstated += int((stated[:, 0] <= 0).sum())
        self._fit(chunk, rows[have], stated[rows[have]])

    def _fit(self, chunk: Chunk, rows: Ints, sizes: Ints) -> None:
        """Count the boxes that reach far beyond their picture."""
        assert chunk.boxes is not None
        assert chunk.box_offsets is not None
        counts = chunk.box_counts()[rows]
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        at = np.repeat(chunk.box_offsets[:-1][rows] - first[:-1], counts) + np.arange(int(first[-1]))
        boxes, limit = chunk.boxes[at], np.repeat(sizes, counts, axis=0)
        beyond = (boxes[:, :2] < -slack(limit)).any(1) | (boxes[:, 2:] > limit + slack(limit)).any(1)
        self._boxes += len(boxes)
        self._misfits += int(beyond.sum())
        owner = np.repeat(rows, counts)
        for i in np.flatnonzero(beyond)[: max(0, 6 - len(self._examples))]:
            box = ",".join(f"{v:g}" for v in boxes[i])
            self._examples.append(f"{chunk.ids[owner[i]]} ({limit[i][0]}×{limit[i][1]} pixels) has {box}")

    def close(self) -> None:
        """Report what was found."""
        if self.given is not None:
            self.given.close()
        self._report_misfits()
        self._report_turned()
        if self._relative and (self.given is not None or self.trusted):
            self.findings.note("sizes: not used, as the boxes are fractions of their pictures, of whatever size")
        if self._unstated and self._differing:
            self.findings.error(
                f"{self._unstated:,} images state no size, while the sizes that others state are not those of their "
                f"files: {some(self._differ, self._differing)}",
                fix="state the size of every image, " + _remedy(self.published),
                count=self._unstated,
            )
        elif self._differing:
            self.findings.note(
                f"{self._differing:,} of {self._compared:,} files that were compared have another size than is stated "
                f"(boxes are in the stated pixels and scale with the picture): {some(self._differ, self._differing)}",
                count=self._differing,
            )
        sizes = np.concatenate(self._seen) if self._seen else np.zeros((0, 2), np.int64)
        if not self._stated and self.given is None and not self.trusted and len(sizes):
            self._report_sign(sizes)

    def _report_misfits(self) -> None:
        if not self._misfits or self._misfits <= MISFIT_SHARE * self._boxes:
            return
        picture = "the picture size that is stated" if self._stated else "their picture"
        what = (
            f"{self._misfits:,} of {self._boxes:,} boxes ({self._misfits / self._boxes:.0%}) reach beyond {picture}, "
            "by more than 1 % of its side: they belong to pictures of another size: "
            f"{some(self._examples, self._misfits)}"
        )
        if self.trusted:
            self.findings.warn(f"{what} (used as they are: sizes=files)", count=self._misfits)
            return
        self.findings.error(what, fix=_remedy(self.published), count=self._misfits)

    def _report_turned(self) -> None:
        """Width and height exchanged: columns in the wrong order, or files that were turned after the annotation."""
        if not self._turned:
            return
        what = (
            f"{len(self._turned):,} of {self._compared:,} files that were compared have the stated width as their "
            f"height, and the stated height as their width: {some(self._turned)}"
        )
        if self.published is not None and len(self._turned) <= MISFIT_SHARE * self._compared:
            self.findings.warn(what, count=len(self._turned))
            return
        self.findings.error(
            what,
            fix="exchange the two where the boxes are in the files' pixels (or pass --option sizes=files); where the "
            "files were turned, boxes and files belong to different pictures: turn one of them",
            count=len(self._turned),
        )

    def _report_sign(self, sizes: Ints) -> None:
        """One size of all files, where the published set has many."""
        sign = _sign(sizes, self.published.longest if self.published else None)
        if not sign:
            return
        if self.published is None:
            if (sizes == sizes[0, 0]).all() and len(sizes) > 1:
                self.findings.warn(
                    f"{sign}, and the annotations state no sizes: boxes are taken to be in the pixels of these files",
                    fix="are they resized copies? then " + _remedy(None),
                )
            return
        self.findings.error(
            f"{sign}, although {self.published.name} has pictures of many sizes: these are resized copies, and the "
            "boxes belong to the originals",
            fix=_remedy(self.published),
            count=len(sizes),
        )


def _contrasted(chunk: Chunk, row: int, found: Ints, stated: Ints) -> str:
    return f"{chunk.ids[row]} {found[0]}×{found[1]}, stated {stated[row, 0]}×{stated[row, 1]}"


def _remedy(published: Published | None) -> str:
    lists = ", as wsolevaluation's metadata has it in image_sizes.txt" if published else ""
    return (
        f"pass --option sizes=FILE with a line `image,width,height` of each original{lists}, or --option sizes=files "
        "if the boxes really are in the pixels of these files"
    )


def _sign(sizes: Ints, longest: int | None) -> str:
    """What all files share that photographs as they were taken do not; empty where nothing is odd. (N,2) pixels."""
    width, height = sizes[0].tolist()
    if (sizes == sizes[0]).all() and len(sizes) > 1:
        square = width == height and width != USUAL_SIDE
        return f"all {len(sizes):,} files are {width}×{height} pixels" if square or len(sizes) >= ENOUGH else ""
    if longest is not None and (beyond := int((sizes.max(1) > longest).sum())):
        return f"{beyond:,} of {len(sizes):,} files have a side of more than {longest} pixels, the longest published"
    if len(sizes) < ENOUGH:
        return ""
    short, long = sizes.min(1), sizes.max(1)
    if (short == short[0]).all():
        return f"the shorter side of all {len(sizes):,} files is {short[0]} pixels"
    if (long == long[0]).all() and long[0] != USUAL_SIDE:
        return f"the longer side of all {len(sizes):,} files is {long[0]} pixels"
    return ""


class GivenSizes:
    """Sizes from the user's file, by image id or, where no id is found, by file name without folder and suffix."""

    def __init__(self, path: Path, findings: Findings) -> None:
        self.path, self.findings = path, findings
        self.by_id = _read(path, findings)
        stems: dict[str, tuple[int, int] | None] = {}
        for name, size in self.by_id.items():
            stem = _stem(name)
            # A name that two images share, with two sizes, decides nothing.
            stems[stem] = size if stems.get(stem, size) == size else None
        self.by_stem = stems
        self.lost: list[str] = []

    def apply(self, chunk: Chunk) -> None:
        """Widths and heights of the chunk's rows; an image without a line is reported by ``close``."""
        sizes = np.zeros((len(chunk), 2), np.int64)
        for row, image_id in enumerate(chunk.ids):
            found = self.by_id.get(image_id) or self.by_stem.get(_stem(image_id))
            if found is None:
                self.lost.append(image_id)
            else:
                sizes[row] = found
        chunk.widths, chunk.heights, chunk.headers_read = sizes[:, 0], sizes[:, 1], False

    def close(self) -> None:
        """Report the images that have no line."""
        if self.lost:
            what = f"{len(self.lost):,} images have no line in it: {some(self.lost)}"
            self.findings.error(what, self.path, "give every image's size", len(self.lost))


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).stem


def _read(path: Path, findings: Findings) -> dict[str, tuple[int, int]]:
    """Image -> (width, height); a first line of words is a heading."""
    found: dict[str, tuple[int, int]] = {}
    for line, fields in csv_rows(path):
        try:
            *names, width, height = fields
            # A list of paths quotes nothing, so a comma may be part of a name.
            name, size = ",".join(names), (int(width), int(height))
            if min(size) < 1 or not name:
                raise ValueError
        except ValueError:
            if line > 1 or any(c.isdecimal() for c in "".join(fields[1:])):
                findings.line(f"{shorten(','.join(fields))} is not `image,width,height`", path, line)
            continue
        if found.get(name, size) != size:
            findings.line(f"{name} has another size than on an earlier line", path, line, "keep the right one")
        found[name] = size
    return found
