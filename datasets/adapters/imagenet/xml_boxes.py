"""ImageNet's boxes in PASCAL-style XML, in folders or still in their archives (SEMANTICS §7)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from ...disk.archives import index_tar, is_member, member_path, read_member
from ...findings import Findings, some
from ...formats.own.voc_boxes import parse_objects
from ...tables.rows import Chunk, Ints


@dataclass
class Annotations:
    """By image name without suffix: label, boxes (K,4) as published, and (width, height) where stated."""

    labels: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, list[list[float]]] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)


def parse_xml(data: bytes) -> tuple[str, list[list[float]], tuple[int, int]]:
    """(wnid of the first object, every object's box, image size) of one file.

    Raises:
        ElementTree.ParseError, ValueError: The file is damaged.
    """
    objects, size = parse_objects(data)
    return (objects[0][0] if objects else ""), [box for _, box in objects], size


def read_xml(place: Path, labels: dict[str, int], findings: Findings) -> Annotations:
    """All XML files of a folder, or of an archive that is read in place; damaged ones are findings."""
    result = Annotations()
    bad: list[str] = []
    twice: list[str] = []
    for path in _xml_files(place):
        stem = _stem(path)
        twice += [stem] if stem in result.boxes else []
        try:
            wnid, boxes, size = parse_xml(_read(path))
        except (ElementTree.ParseError, ValueError, OSError) as error:
            bad.append(f"{stem}.xml ({error})")
            continue
        result.boxes[stem], result.sizes[stem] = boxes, size
        if wnid in labels:
            result.labels[stem] = labels[wnid]
    _report_bad(bad, place, "ILSVRC2012_bbox_val_v3.tgz", findings)
    if twice:
        what = f"{len(twice):,} images have two XML files in different folders: {some(twice)}"
        findings.error(what, place, "keep the right one of the two", len(twice))
    return result


def _xml_files(place: Path) -> Iterator[str]:
    if place.is_file():
        members = index_tar(place)
        yield from (member_path(place, n, *members[n]) for n in sorted(members) if n.endswith(".xml"))
    else:
        yield from map(str, sorted(xml_files(place)))


def xml_files(folder: Path) -> Iterator[Path]:
    """The XML files of a folder. Not glob, which passes over a folder that may not be listed."""
    return (p for p in folder.iterdir() if p.suffix == ".xml")


def _stem(path: str) -> str:
    name = path.split("::")[0] if is_member(path) else path
    return name.rpartition("/")[2].removesuffix(".xml")


def _read(path: str) -> bytes:
    return read_member(path) if is_member(path) else Path(path).read_bytes()


def _report_bad(bad: list[str], place: Path, archive: str, findings: Findings) -> None:
    if bad:
        fix = f"extract {archive} again"
        findings.error(f"{len(bad):,} XML files cannot be read: {some(bad)}", place, fix, len(bad))


class TrainBoxes:
    """Boxes of training images: a folder of wnid folders, or ILSVRC2012_bbox_train_v2.tar.gz read in place.

    They exist for fewer than half of the images (544,546 of 1,281,167), so a split with boxes has only those.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.kept = 0
        self._bad: list[str] = []
        self._archive: dict[str, dict[str, str]] | None = None

    def watched(self) -> list[Path]:
        """Folders whose listing is used."""
        return [] if self.place.is_file() else [self.place, *sorted(p for p in self.place.iterdir() if p.is_dir())]

    def _files(self, wnid: str) -> dict[str, str]:
        """Image name without suffix -> address of its XML file."""
        if self.place.is_file():
            if self._archive is None:
                self._archive = self._index()
            return self._archive.get(wnid, {})
        folder = self.place / wnid
        return {p.stem: str(p) for p in xml_files(folder)} if folder.is_dir() else {}

    def _index(self) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = defaultdict(dict)
        for name, place in index_tar(self.place).items():
            if name.endswith(".xml"):
                stem = name.rpartition("/")[2].removesuffix(".xml")
                found[stem.partition("_")[0]][stem] = member_path(self.place, name, *place)
        return found

    def having(self, ids: Sequence[str]) -> Ints:
        """Rows of one class's ids ``train/WNID/NAME`` that have an XML file."""
        files = self._files(ids[0].split("/")[1]) if ids else {}
        return np.array([i for i, name in enumerate(ids) if _image(name) in files], np.int64)

    def add(self, chunk: Chunk, findings: Findings) -> None:
        """Boxes and image sizes of one class's images, all of which have a file."""
        files = self._files(chunk.ids[0].split("/")[1]) if chunk.ids else {}
        every: list[list[float]] = []
        counts, sizes, bare = [], [], []
        for name in chunk.ids:
            boxes: list[list[float]] = []
            size = (0, 0)
            try:
                _, boxes, size = parse_xml(_read(files[_image(name)]))
            except (ElementTree.ParseError, ValueError, OSError) as error:
                self._bad.append(f"{_image(name)}.xml ({error})")
            else:
                bare += [] if boxes else [name]
            every += boxes
            counts.append(len(boxes))
            sizes.append(size)
        if bare:
            findings.error(f"{len(bare)} XML files have no object: {some(bare)}", self.place, count=len(bare))
        chunk.boxes = np.array(every, np.float64).reshape(-1, 4)
        chunk.box_offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        shape = np.array(sizes, np.int64).reshape(-1, 2)
        chunk.widths, chunk.heights = shape[:, 0], shape[:, 1]
        self.kept += len(chunk)

    def report(self, images: int, findings: Findings) -> None:
        """Say what was kept, and what could not be read."""
        findings.note(f"{self.kept:,} of {images:,} training images have boxes and were kept (train_boxes)", self.place)
        _report_bad(self._bad, self.place, "ILSVRC2012_bbox_train_v2.tar.gz", findings)


def _image(image_id: str) -> str:
    return image_id.rpartition("/")[2].rpartition(".")[0]


def columns(names: list[str], found: Annotations) -> tuple[npt.NDArray[np.float64], Ints, list[str]]:
    """Boxes (M,4) and offsets of images in order, and the names that have none."""
    lists = [found.boxes.get(n, []) for n in names]
    offsets = np.concatenate([[0], np.cumsum([len(b) for b in lists])]).astype(np.int64)
    flat = np.array([b for boxes in lists for b in boxes], np.float64).reshape(-1, 4)
    return flat, offsets, [n for n, b in zip(names, lists, strict=True) if not b]
