"""Rows of Stanford Cars, however its annotations were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....opener import is_picture
from ...disk.trees import FolderTree
from ...findings import Findings
from ...schema import Split
from ...tables.build import Built
from ...tables.checks import check_listed
from ...tables.headers import add_sizes
from ...tables.rows import Chunk, Ints
from ...tables.sizes import Published
from ...tables.splits import HoldOut

CLASSES = 196


@dataclass(frozen=True)
class Listing:
    """Images of one part (train or test): ``files`` below ``folder``, labels from 0, boxes as published or none.

    ``place``: the annotation file (or folder), ``lines`` its line or row of each image; ``names_file``: for messages.
    """

    folder: Path
    ids: list[str]
    files: list[str]
    labels: Ints
    boxes: npt.NDArray[np.float64] | None
    names: tuple[str, ...]
    place: Path
    lines: Ints | None
    names_file: Path
    other_files: tuple[str, ...] = ()
    """Images of the other part in the same folder."""


def build_rows(listing: Listing, split: Split, options: Mapping[str, Any], findings: Findings) -> Built:
    """The split's rows; val is held out of train."""
    tree = FolderTree(listing.folder)
    hold = HoldOut(split, options, findings, "Stanford Cars has no published val")
    paths = tree.paths(listing.files)
    check_listed(tree.index, [*paths, *tree.paths(listing.other_files)], listing.place, findings)

    def chunks() -> Iterator[Chunk]:
        chunk = Chunk(listing.ids, paths, listing.labels, sizes=tree.sizes(listing.files))
        if listing.lines is not None:
            chunk.lines, chunk.label_file = listing.lines, str(listing.place)
        if listing.boxes is not None:
            chunk.boxes, chunk.box_offsets = listing.boxes, np.arange(len(listing.ids) + 1)
        if split != "test":
            chunk = hold.apply(chunk)
            hold.report()
        add_sizes(chunk)
        yield chunk

    if len(listing.names) != CLASSES:
        what = f"{len(listing.names)} class names, published are {CLASSES}"
        findings.warn(what, listing.names_file, "is the file truncated?")
    has_boxes = listing.boxes is not None
    return Built(
        class_names=distinct(listing.names),
        chunks=chunks(),
        findings=findings,
        watched=tree.folders,
        has_boxes=has_boxes,
        published=Published("Stanford Cars"),
    )


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names, a repeated one with its index behind it."""
    seen: set[str] = set()
    result = []
    for index, name in enumerate(names):
        result.append(name if name not in seen else f"{name} ({index})")
        seen.add(name)
    return tuple(result)


def first_folder(base: Path, names: Sequence[str]) -> Path:
    """The folder that holds images; the first name where none does (its images are then reported missing)."""
    for name in names:
        folder = base / name
        if folder.is_dir() and any(is_picture(p.name) for p in folder.iterdir()):
            return folder
    return base / names[0]
