"""Folders with one label file for each image: the tool that wrote them, and the pictures that they describe."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from ....opener import is_picture
from ...findings import Findings, some
from ...schema import DatasetError

KINDS = {".xml": "PASCAL VOC XML", ".txt": "YOLO labels"}
CLASS_FILES = ("classes.txt", "obj.names", "data.yaml", "dataset.yaml")
"""Files of class names that lie beside YOLO's labels, or above them."""


def class_files(root: Path, folder: Path) -> list[Path]:
    """Files of class names that are there: beside the labels of ``folder``, above them, or in the root."""
    places = dict.fromkeys((folder, folder.parent, folder.parent.parent, root))
    below = [place for place in places if place == root or root in place.parents]
    return [place / name for place in below for name in CLASS_FILES if (place / name).is_file()]


def folders_below(folder: Path) -> list[Path]:
    """A folder and all below it whose files are read; a file that is edited in place changes no folder above."""
    return [Path(place) for place, *_ in _visible(folder)]


def files_below(folder: Path, suffix: str | None = None) -> list[str]:
    """Names, relative to a folder with ``/`` between, of the files in it and below that end so; pictures for None."""
    return sorted(_walk(folder, suffix))


def _walk(folder: Path, suffix: str | None) -> Iterator[str]:
    for place, names in _visible(folder):
        inside = Path(place).relative_to(folder).as_posix()
        for name in names:
            wanted = is_picture(name) if suffix is None else name.lower().endswith(suffix)
            if wanted and not name.startswith(".") and name.lower() not in CLASS_FILES:
                yield name if inside == "." else f"{inside}/{name}"


def _visible(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders that are not hidden, with the names of their files."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield place, names


def label_kind(folder: Path) -> str:
    """``.xml`` or ``.txt``: the files that a folder of annotations holds.

    Raises:
        DatasetError: It holds neither, or both.
    """
    found = {suffix: files_below(folder, suffix) for suffix in KINDS}
    kinds = [suffix for suffix, names in found.items() if names]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        said = " and ".join(f"{len(found[k]):,} {k}, {found[k][0]}" for k in kinds)
        raise DatasetError(f"{folder}: holds files of two kinds ({said}); name a folder that holds one")
    json = files_below(folder, ".json")
    other = f", but {len(json):,} .json, {json[0]}: labelme's? Export COCO JSON, or name the one file" if json else ""
    raise DatasetError(
        f"{folder}: a folder of annotations holds a PASCAL VOC .xml or YOLO .txt for each image; it has neither{other}"
    )


class PicturesByStem:
    """The pictures of a folder, by their names without suffix."""

    def __init__(self, root: Path, images: Path) -> None:
        self._base = "" if images == root else images.relative_to(root).as_posix() + "/"
        self._images = images
        self._by_place: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in files_below(images):
            stem = name.rpartition(".")[0]
            self._by_place[stem].append(name)
            self._by_stem[stem.rpartition("/")[2]].append(name)
        self._lost: list[str] = []
        self._several: list[str] = []
        self.used: set[str] = set()

    def of(self, label: str) -> str | None:
        """The picture of a label file, relative to the root; None where there is none, or more than one."""
        stem = label.rpartition(".")[0]
        found = self._by_place.get(stem) or self._by_stem.get(stem.rpartition("/")[2], [])
        if len(found) == 1:
            self.used.add(found[0])
            return self._base + found[0]
        (self._several if found else self._lost).append(label)
        return None

    def unused(self) -> list[str]:
        """Pictures, relative to the root, that no label file speaks of."""
        return [self._base + name for names in self._by_place.values() for name in names if name not in self.used]

    def close(self, where: Path, findings: Findings) -> None:
        """Say which label files have no picture of their name, and which have several."""
        for what, lost in (("no image", self._lost), ("several images", self._several)):
            if lost:
                findings.error(
                    f"{len(lost):,} label files have {what} of their name in {self._images}: {some(lost)}",
                    where,
                    "pass --option images=FOLDER, or mend the names",
                    len(lost),
                )
