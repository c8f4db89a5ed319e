"""Which picture size the boxes belong to: stated by the annotations, given by the user, or that of the files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...opener import Exif
from ..findings import Findings, some
from .given_sizes import FILES, STATED, GivenSizes, sizes_file
from .headers import read_sizes
from .rows import Chunk, Ints

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
        tools: The sizes that are stated are what a tool wrote beside the boxes, and may be another picture's: where the
            files contradict them, the boxes or the user must say which holds. Else they are the format's own list of
            the originals' sizes.
    """

    def __init__(
        self, options: Mapping[str, Any], findings: Findings, published: Published | None = None, *, tools: bool = False
    ) -> None:
        path = sizes_file(options)
        self.trusted, self.kept = str(options.get("sizes")) == FILES, str(options.get("sizes")) == STATED
        self.doubted = tools and "sizes" not in options
        self.given = GivenSizes(path, findings) if path is not None else None
        self.exif: Exif = "apply" if options.get("exif") == "apply" else "ignore"
        self.findings, self.published = findings, published
        self._left = SAMPLE
        self._seen: list[Ints] = []
        self._boxes = self._misfits = self._unstated = self._compared = self._differing = 0
        self._in_doubt = self._beyond_files = 0
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
        rows, found = self._files(chunk)
        if chunk.widths is None or chunk.heights is None:
            self._compare(chunk, rows, found)
        else:
            self._contrast(chunk, rows, found)

    def _files(self, chunk: Chunk) -> tuple[Ints, Ints]:
        """Rows, and the sizes (N,2) of their files: all where they are known, else of a sample."""
        there = np.arange(len(chunk)) if chunk.sizes is None else np.flatnonzero(chunk.sizes > 0)
        if chunk.file_sizes is not None:
            return there, chunk.file_sizes[there]
        rows = self._sample(there)
        return rows, np.stack(read_sizes([chunk.paths[i] for i in rows], exif=self.exif), 1)

    def _sample(self, there: Ints) -> Ints:
        """Rows whose headers are read, evenly over those whose files are there."""
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
        _, _, _, beyond = _reach(chunk, rows[other], found[other])
        self._in_doubt += len(beyond)
        self._beyond_files += int(beyond.sum())
        self._fit(chunk, rows[have], stated[rows[have]])

    def _fit(self, chunk: Chunk, rows: Ints, sizes: Ints) -> None:
        """Count the boxes that reach far beyond their picture."""
        owner, boxes, limit, beyond = _reach(chunk, rows, sizes)
        self._boxes += len(boxes)
        self._misfits += int(beyond.sum())
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
        elif self._contradicted():
            self._report_contradiction()
        elif self._differing:
            self.findings.note(
                f"{self._differing:,} of {self._compared:,} files that were compared have another size than is stated "
                f"(boxes are in the stated pixels and scale with the picture): {some(self._differ, self._differing)}",
                count=self._differing,
            )
        if self.kept and not self._stated and not self._relative:
            self.findings.error("sizes=stated, but the annotations state no sizes", fix=_remedy(self.published))
        sizes = np.concatenate(self._seen) if self._seen else np.zeros((0, 2), np.int64)
        if not self._stated and self.given is None and not (self.trusted or self.kept) and len(sizes):
            self._report_sign(sizes)

    def _contradicted(self) -> bool:
        """Whether a tool's sizes are not the files', and nothing tells of which of the two pictures the boxes are.

        Boxes that the files could not hold belong to the stated pictures: the files are smaller copies.
        """
        other = self._differing - len(self._turned)
        if self._misfits > MISFIT_SHARE * self._boxes:
            return False  # told already
        return self.doubted and other > 0 and self._beyond_files <= MISFIT_SHARE * self._in_doubt

    def _report_contradiction(self) -> None:
        share = self._differing / self._compared
        self.findings.error(
            f"{self._differing:,} of {self._compared:,} files ({share:.0%}) have another size than the annotations "
            f"state, and the boxes fit into both: {some(self._differ, self._differing)}",
            fix="pass --option sizes=stated if the boxes are in the stated pixels, and the files are resized copies, "
            "--option sizes=files if they are in the pixels of these files, or --option sizes=FILE with a line "
            "`image,width,height` of each picture that was annotated",
            count=self._differing,
        )

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


def _reach(chunk: Chunk, rows: Ints, sizes: Ints) -> tuple[Ints, npt.NDArray[np.float64], Ints, npt.NDArray[np.bool_]]:
    """Boxes of ``rows``: their row, themselves, the size of their picture, whether they reach far beyond it."""
    assert chunk.boxes is not None
    assert chunk.box_offsets is not None
    counts = chunk.box_counts()[rows]
    first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    at = np.repeat(chunk.box_offsets[:-1][rows] - first[:-1], counts) + np.arange(int(first[-1]))
    boxes, limit = chunk.boxes[at], np.repeat(sizes, counts, axis=0)
    beyond: npt.NDArray[np.bool_] = np.any(boxes[:, :2] < -slack(limit), axis=1)
    beyond |= np.any(boxes[:, 2:] > limit + slack(limit), axis=1)
    return np.repeat(rows, counts), boxes, limit, beyond


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
