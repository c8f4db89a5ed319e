"""Tables from wsolevaluation's metadata (SEMANTICS §7): the lists are found and read, and every image located."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ....home import expanded
from ....opener import SUFFIXES, formats, is_picture
from ...disk.files import MISSING, FileIndex
from ...disk.textfiles import read_lines
from ...findings import Findings, some
from ...schema import SPLITS, DatasetError, MissingSplitError, Split
from ...tables.build import Built
from ...tables.checks import check_class_count, check_masks
from ...tables.rows import Chunk
from ...tables.sizes import Published
from ..wnids import imagenet_class_names
from .wsol_columns import IDS
from .wsol_metadata import LABELS, PLACES, SIZES, Metadata, read_metadata

CHUNK = 1 << 16
"""Rows in memory at a time. Part of the fingerprint of larger sets, so it never changes."""
KNOWN_SETS = {"ILSVRC": 1000, "CUB": 200, "CARS": 196, "OpenImages": 100}
_ID_PATTERNS = (
    (re.compile(r"(^|/)ILSVRC2012_(val|test)_\d{8}\.|^val2/\d+/|(^|/)n\d{8}_\d+\."), "ILSVRC"),
    (re.compile(r"^\d{3}\.[A-Z][A-Za-z_\-]+/"), "CUB"),
)
_SUFFIXES = (".jpg", ".jpeg", ".JPG", ".JPEG", ".png")
"""The usual spellings, looked for first."""


def find_metadata(root: Path, split: Split, named: object) -> Path:
    """The folder of the split's lists, from the ``metadata`` option or ROOT/metadata."""
    base = expanded(named) if named is not None else root / "metadata"
    if not base.is_dir():
        state = "is a file" if base.exists() else "does not exist"
        hint = "" if named is not None else "; pass metadata=DIR (--metadata DIR)"
        raise DatasetError(f"wsol: metadata folder {base} {state}{hint}; expected {base}/{split}/{IDS} there")
    if (base / split / IDS).is_file():
        return base / split
    if (base / IDS).is_file() and (base.name == split or base.name not in SPLITS):
        return base
    below = sorted(p.parent.parent.name for p in base.glob(f"*/{split}/{IDS}"))
    if below:
        raise DatasetError(
            f"wsol: {base} is the parent of the metadata of {', '.join(below)}; pass metadata={base / below[0]}"
        )
    if (base / IDS).is_file():
        raise MissingSplitError(
            f"wsol: {base} holds the split {base.name!r}, not {split!r}; pass its parent {base.parent}"
        )
    have = [s for s in SPLITS if (base / s / IDS).is_file()]
    found = f"it has the splits {', '.join(have)}" if have else "it has no split folder with image_ids.txt"
    raise MissingSplitError(f"wsol: no {split!r} split in {base}: expected {base / split / IDS}; {found}")


def nearby_metadata(base: Path, name: str, split: Split) -> Path | None:
    """The split's lists in BASE/metadata or BASE/metadata/NAME, as wsolevaluation's own repository has them."""
    places = (base / "metadata" / name / split, base / "metadata" / split)
    return next((p for p in places if (p / IDS).is_file()), None)


def build(root: Path, folder: Path, split: Split, options: Mapping[str, Any]) -> Built:
    """Read the metadata and find every image."""
    findings = Findings()
    meta = read_metadata(folder, findings)
    names, known, which = class_names(meta, folder, options)
    index = FileIndex()
    locate, where = find_images(root, meta.ids, split, index)
    if meta.widths is None and meta.boxes is not None and "sizes" not in options:
        findings.note(f"no {SIZES}: boxes are taken to be in the pixels of the files", folder)
    if not known:
        findings.note(f"number of classes taken from the largest label + 1: {len(names)}", fix="pass num_classes=N")
    if meta.boxes is None and meta.masks is None:
        findings.note("no boxes and no masks: localisation metrics need one of them", folder / PLACES)
    locate_mask = _find_masks(meta, root, options, index) if meta.masks else None

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(meta.ids), CHUNK):
            chunk = meta.rows(start, start + CHUNK)
            chunk.paths = [locate(i) for i in chunk.ids]
            chunk.sizes = index.sizes(chunk.paths)
            if locate_mask is not None and meta.masks is not None and meta.ignores is not None:
                part = slice(start, start + CHUNK)
                _add_masks(chunk, meta.masks[part], meta.ignores[part], locate_mask, index, findings)
            yield chunk

    return Built(
        class_names=names,
        chunks=chunks(),
        findings=findings,
        facts={"num_classes_known": known, "class_set": which, "images": where},
        watched=index.folders,
        has_boxes=meta.boxes is not None,
        has_masks=meta.masks is not None,
        published=Published(of) if (of := known_set(folder, meta.ids)) else None,
    )


def class_names(meta: Metadata, folder: Path, options: Mapping[str, Any]) -> tuple[tuple[str, ...], bool, str]:
    """(names, whether their number is known and not merely the largest label seen, the known set's name)."""
    top = int(meta.labels.max()) + 1
    check_class_count(top, folder / LABELS)
    if "class_names" in options:
        path = expanded(options["class_names"])
        names = [line.strip() for line in read_lines(path)]
        if len(set(names)) < len(names) or "" in names:
            raise DatasetError(f"{path}: class names must be distinct and not blank")
        return tuple(names), True, ""
    if "num_classes" in options:
        try:
            count = int(options["num_classes"])
        except ValueError:
            raise DatasetError(f"wsol: num_classes={options['num_classes']!r} is not a whole number") from None
        check_class_count(count, f"wsol: num_classes={count}")
        return folder_names(meta, count), True, ""
    which = known_set(folder, meta.ids)
    if which and top <= KNOWN_SETS[which]:
        if which == "ILSVRC":
            return imagenet_class_names(), True, which
        return folder_names(meta, KNOWN_SETS[which]), True, which
    return folder_names(meta, top), False, ""


def folder_names(meta: Metadata, count: int) -> tuple[str, ...]:
    """Names of ``count`` classes: their folders' in the ids ``…/CLASS/FILE`` where each has its own, else numbers."""
    pairs = {(label, i.split("/")[-2]) for label, i in zip(meta.labels.tolist(), meta.ids, strict=True) if "/" in i}
    names = dict(sorted(pairs))
    if len(pairs) == len(names) == len(set(names.values())) and list(names) == list(range(count)):
        return tuple(names.values())
    return tuple(str(i) for i in range(count))


def known_set(folder: Path, ids: Sequence[str]) -> str:
    """Which of the published sets the metadata describes: by its folder's name, else by the form of its ids."""
    parts = {p.lower() for p in folder.resolve().parts[-3:]}
    for name in KNOWN_SETS:
        if name.lower() in parts:
            return name
    for pattern, name in _ID_PATTERNS:
        if all(pattern.search(i) for i in ids[:: max(1, len(ids) // 50)]):
            return name
    return ""


def find_images(root: Path, ids: Sequence[str], split: str, index: FileIndex) -> tuple[Callable[[str], str], str]:
    """A rule from id to path, and its description: the one that finds most of a sample of ids.

    Tried in this order: ROOT/id; ROOT/images/id; the id without its first folders (ROOT is that folder itself), also
    below images/, the split's and the usual folders; ids may lack their suffix or have it in another spelling.
    """
    base = str(root)
    sample = ids[:: max(1, len(ids) // 64)]
    depth = max((i.count("/") for i in sample), default=0)
    folders = ("", "images/", f"{split}/", f"cars_{split}/", "CUB_200_2011/images/", "CUBV2/", "ImageNetV2/")
    best, best_rule = -1, (0, "")
    for drop in range(depth + 1):
        for folder in folders:
            hits = sum(_found(index.spelled(f"{base}/{folder}", _drop(i, drop)), index)[1] for i in sample)
            if hits > best:
                best, best_rule = hits, (drop, folder)
            if hits == len(sample):
                break
    drop, folder = best_rule if best > 0 else (0, "")
    text = f"{base}/{folder}<id{f' without its first {drop} folders' if drop else ''}>"
    return lambda image_id: _found(index.spelled(f"{base}/{folder}", _drop(image_id, drop)), index)[0], text


def _drop(image_id: str, folders: int) -> str:
    return image_id.split("/", folders)[-1] if folders else image_id


def _found(path: str, index: FileIndex) -> tuple[str, bool]:
    """The path, with another spelling of the suffix where only that exists, and whether it exists."""
    if index.size(path) >= 0:
        return path, True
    stem, dot, _ = path.rpartition(".")
    if not dot or not is_picture(path):
        stem = path
    for other in _spellings():
        if index.size(stem + other) >= 0:
            return stem + other, True
    return path, False


@cache
def _spellings() -> tuple[str, ...]:
    """Suffixes of the formats that are opened, in lower and upper case."""
    every = [s for name in formats() for s in SUFFIXES[name]]
    return tuple(dict.fromkeys([*_SUFFIXES, *every, *map(str.upper, every)]))


def _find_masks(meta: Metadata, root: Path, options: Mapping[str, Any], index: FileIndex) -> Callable[[str], str]:
    """The rule from a mask's name to its path."""
    if "mask_root" in options:
        mask_root = expanded(options["mask_root"])
        return lambda name: f"{mask_root}/{name}"
    names = [m for row in meta.masks or () for m in row] + [i for i in meta.ignores or () if i]
    return find_images(root, names, "masks", index)[0]


def _add_masks(
    chunk: Chunk,
    masks: list[list[str]],
    ignores: list[str | None],
    locate: Callable[[str], str],
    index: FileIndex,
    findings: Findings,
) -> None:
    names = [m for row in masks for m in row] + [i for i in ignores if i]
    lost = [n for n in names if index.size(locate(n)) <= MISSING]
    if lost:
        findings.error(
            f"{len(lost):,} of {len(names):,} masks are not on disk: {some(lost)}",
            fix="complete the data set, or pass mask_root=DIR",
            count=len(lost),
        )
    check_masks(names, [index.size(locate(n)) for n in names], findings)
    chunk.masks = [[locate(m) for m in row] for row in masks]
    chunk.ignores = [locate(i) if i else None for i in ignores]
    sizes = [sum(index.size(locate(m)) for m in row) for row in masks]
    if chunk.sizes is not None:
        # Sizes enter the fingerprint: the masks' count too; a missing image stays missing.
        chunk.sizes = np.where(chunk.sizes > 0, chunk.sizes + np.array(sizes, np.int64), chunk.sizes)
