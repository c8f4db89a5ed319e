"""From people's annotations to rows: files found, sizes and orientations settled, boxes in pixels, masks drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...disk.files import MISSING, FileIndex
from ...findings import Findings, some
from ...tables.build import Built
from ...tables.given_sizes import STATED, GivenSizes, sizes_file
from ...tables.headers import read_headers
from ...tables.rows import Chunk, Ints, Picture, group_boxes
from .box_forms import BoxReading, Floats, corners, settle_boxes
from .exif import check_exif, settle_exif, shown_sizes
from .given_names import GivenNames, found_elsewhere
from .instances import Instances, Rows, class_rule, make_rows

MASK_ROWS = 512
"""Rows whose masks are drawn at a time."""
DrawMask = Callable[[list[Any], tuple[int, int]], bytes]
"""A PNG of the union of some segmentations, given the width and height of their image."""


@dataclass(frozen=True)
class OwnOptions:
    """What the user chose.

    ``rule``: as ``class_rule``; ``exif``: apply, ignore or None; ``boxes``: how four numbers are read; ``sizes``: the
    option, where it says that the sizes that are stated do not hold.
    """

    rule: str
    exif: str | None
    boxes: BoxReading
    sizes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any], reading: BoxReading) -> OwnOptions:
        """From the data set's options; ``reading``: what the file says of boxes. OptionError for wrong words."""
        boxes = reading.with_option(options.get("boxes"))
        sizes = {k: options[k] for k in ("sizes",) if options.get(k) not in (None, STATED)}
        return cls(class_rule(options), check_exif(options.get("exif")), boxes, sizes)


@dataclass(frozen=True)
class _Files:
    """One entry an image of the list. ``bytes``: of each file; ``headers``: width, height, EXIF orientation (N,3)."""

    ids: list[str]
    paths: list[str]
    bytes: Ints
    headers: Ints

    def shown(self, turn: bool) -> Ints:
        """Sizes (N,2) of the files' pictures, turned where EXIF says so and ``turn``; 0: unknown."""
        return shown_sizes(self.headers[:, :2], self.headers[:, 2]) if turn else self.headers[:, :2]

    def pictures(self, stated: Ints, turn: bool) -> Ints:
        """Sizes (N,2) of the pictures that boxes and masks belong to: as stated, else the files' own; 0: unknown."""
        known: Ints = np.where(np.asarray((stated > 0).all(1))[:, None], stated, self.shown(turn))
        return known


@dataclass(frozen=True)
class OwnFile:
    """What a file of annotations says.

    Attributes:
        path: The file, for messages.
        instances: Its boxes, labels and sizes.
        names: Classes by index.
        has_boxes: Whether rows have boxes; images without one are left out then, and counted.
        draw: Draws an instance's mask, where all have one.
        facts: Of the table.
    """

    path: Path
    instances: Instances
    names: tuple[str, ...]
    has_boxes: bool
    draw: DrawMask | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


def build_own(root: Path, file: OwnFile, options: OwnOptions, findings: Findings) -> Built:
    """Rows of the images of a file of annotations.

    Args:
        root: Folder that file names are relative to.
        file: What the file says.
        options: The user's choices.
        findings: Receives what is found.
    """
    where, names, has_boxes, draw = file.path, file.names, file.has_boxes, file.draw
    index = FileIndex()
    inst = _with_content(file.instances, where, findings)
    files, inst = _find(root, where, inst, index, findings)
    reach = _reach(inst, options.boxes) if has_boxes else None
    if options.sizes:
        inst = replace(inst, sizes=_chosen_sizes(files.ids, options.sizes))
    before = len(findings.of("error"))
    turn = settle_exif(files.ids, files.headers[:, :2], inst.sizes, files.headers[:, 2], options.exif, findings, reach)
    shown, pictures = files.shown(turn), files.pictures(inst.sizes, turn)
    boxes = inst.numbers.copy()
    boxed = ~np.isnan(boxes).any(1)
    limits = pictures[inst.owner[boxed]].astype(np.float64)
    boxes[boxed], fraction = settle_boxes(
        boxes[boxed], limits, options.boxes, where, findings, other_sizes=bool(options.sizes)
    )
    # Boxes that are read wrongly would be found faulty once more, with a remedy that is none.
    sound = len(findings.of("error")) == before
    rows = make_rows(inst, boxes, names, options.rule, where, findings)
    # Fractions are now in the pixels of these pictures, stated or not.
    sizes = pictures if fraction or not (inst.sizes > 0).any() else inst.sizes
    own = files.headers[rows.image, :2].any() and not (inst.sizes > 0).any()
    members = np.argsort(rows.row, kind="stable")
    members = members[rows.row[members] >= 0]
    starts = np.searchsorted(rows.row[members], np.arange(len(rows.image) + 1))

    def chunks() -> Iterator[Chunk]:
        step = MASK_ROWS if draw is not None else max(1, len(rows.image))
        for first in range(0, len(rows.image), step):
            part = slice(first, min(first + step, len(rows.image)))
            held = members[starts[part.start] : starts[part.stop]]
            chunk = _chunk(files, rows, part, names, options.rule)
            chunk.widths, chunk.heights = sizes[rows.image[part], 0], sizes[rows.image[part], 1]
            chunk.headers_read, chunk.relative = bool(own), fraction
            chunk.file_sizes = shown[rows.image[part]]
            if has_boxes and sound:
                chunk.boxes, chunk.box_offsets = group_boxes(rows.row[held] - first, boxes[held], len(chunk))
            if draw is not None:
                _add_masks(chunk, inst, rows, held, part, pictures, draw)
            yield chunk

    table = {"exif": "apply" if turn else "ignore", **file.facts}
    if lost := [i for i, size in zip(files.ids, files.bytes.tolist(), strict=True) if size == MISSING]:
        table["elsewhere"] = found_elsewhere(root, lost)
    if len(np.unique(rows.image)) < len(rows.image):
        table["class_rows"] = True
    return Built(names, chunks(), findings, table, index.folders, has_boxes, draw is not None, tools_sizes=True)


def _chosen_sizes(ids: list[str], options: Mapping[str, Any]) -> Ints:
    """Sizes (N,2) of the user's file, 0 where it has none (told later) and where the files' own hold."""
    path = sizes_file(options)
    if path is None:
        return np.zeros((len(ids), 2), np.int64)
    return GivenSizes(path, Findings()).of(ids)


def _reach(inst: Instances, reading: BoxReading) -> Floats:
    """How far right and down the boxes of each image reach (I,2), in pixels; 0 where they are fractions."""
    reach = np.zeros((len(inst.images), 2))
    ends = np.nan_to_num(corners(inst.numbers, reading.form)[:, 2:])
    if reading.unit != "fraction" and not (reading.often_fractions and (ends <= 1.01).all()):
        np.maximum.at(reach, inst.owner, ends)
    return reach


def _with_content(inst: Instances, where: Path, findings: Findings) -> Instances:
    """Without the images that have no instance, which are counted."""
    bare = np.flatnonzero(np.bincount(inst.owner, minlength=len(inst.images)) == 0).tolist()
    crowds = inst.crowds or {}
    empty = [inst.images[i] for i in bare if i not in crowds]
    crowded = [inst.images[i] for i in bare if i in crowds]
    for what, lost in (("no box or mask", empty), ("crowds only", crowded)):
        if lost:
            what = f"{len(lost):,} of {len(inst.images):,} images have {what} and are left out: {some(lost)}"
            findings.warn(what, where, count=len(lost))
    if bare and len(bare) == len(inst.images):
        crowds_too = f" ({len(crowded):,} have crowds only)" if crowded else ""
        findings.error(f"none of {len(inst.images):,} images has a box or mask of its own{crowds_too}", where)
        findings.raise_errors(f"folder {where.name}")
    if not bare:
        return inst
    place = np.full(len(inst.images), -1, np.int64)
    keep = np.setdiff1d(np.arange(len(inst.images)), bare)
    place[keep] = np.arange(len(keep))
    return replace(
        inst,
        images=[inst.images[i] for i in keep],
        sizes=inst.sizes[keep],
        owner=place[inst.owner],
        crowds={int(place[i]): c for i, c in crowds.items() if place[i] >= 0},
    )


def _find(root: Path, where: Path, inst: Instances, index: FileIndex, findings: Findings) -> tuple[_Files, Instances]:
    """The files of the images; names of one file become one image."""
    names = GivenNames(root, index)
    row_of: dict[str, int] = {}
    place = np.zeros(len(inst.images), np.int64)
    paths: list[str] = []
    for i, name in enumerate(inst.images):
        image_id, path = names.find(name)
        place[i] = row_of.setdefault(image_id, len(row_of))
        if place[i] == len(paths):
            paths.append(path)
    names.close(where, findings)
    ids = list(row_of)
    if len(ids) < len(inst.images):
        inst = _merged(inst, ids, place, where, findings)
    found = index.sizes(paths)
    headers = read_headers([p if n > 0 else "" for p, n in zip(paths, found.tolist(), strict=True)])
    return _Files(ids, paths, found, headers), inst


def _merged(inst: Instances, ids: list[str], place: Ints, where: Path, findings: Findings) -> Instances:
    """Images of one file as one; they must state one size."""
    sizes = np.zeros((len(ids), 2), np.int64)
    np.maximum.at(sizes, place, inst.sizes)
    differ = np.flatnonzero(((inst.sizes > 0) & (inst.sizes != sizes[place])).any(1))
    if differ.size:
        some_ids = some([ids[place[i]] for i in differ[:6]], differ.size)
        findings.error(f"{differ.size:,} images state two sizes: {some_ids}", where, "keep the right one", differ.size)
    crowds: dict[int, list[Any]] = {}
    for image, crowd in (inst.crowds or {}).items():
        crowds.setdefault(int(place[image]), []).extend(crowd)
    return replace(inst, images=ids, sizes=sizes, owner=place[inst.owner], crowds=crowds)


def _chunk(files: _Files, rows: Rows, part: slice, names: tuple[str, ...], rule: str) -> Chunk:
    """Ids, paths, labels and bytes; with a row for each image and class the id names the class."""
    images, labels = rows.image[part].tolist(), rows.label[part]
    ids = [files.ids[i] for i in images]
    if not names:
        labels = np.full(len(ids), -1)
    elif rule == "rows":
        ids = [f"{i}#{names[c]}" for i, c in zip(ids, labels.tolist(), strict=True)]
    return Chunk(ids, [files.paths[i] for i in images], labels, sizes=files.bytes[images])


def _add_masks(
    chunk: Chunk, inst: Instances, rows: Rows, held: Ints, part: slice, pictures: Ints, draw: DrawMask
) -> None:
    """Each row's instances, and its image's crowds as pixels that never count."""
    segmentations = inst.segmentations or []
    masks: list[list[Picture]] = [[] for _ in chunk.ids]
    for member in held.tolist():
        image = int(inst.owner[member])
        masks[int(rows.row[member]) - part.start].append(draw([segmentations[member]], _size(pictures, image)))
    chunk.masks = masks
    images = rows.image[part].tolist()
    crowds = inst.crowds or {}
    chunk.ignores = [draw(crowds[i], _size(pictures, i)) if crowds.get(i) else None for i in images]


def _size(pictures: Ints, image: int) -> tuple[int, int]:
    return int(pictures[image, 0]), int(pictures[image, 1])
