"""PASCAL VOC: one XML file for each image, as LabelImg, CVAT and Roboflow write it."""

from __future__ import annotations

import codecs
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from ...disk.textfiles import as_number, shorten
from ...findings import Findings, some
from ...schema import DatasetError
from ...tables.build import Built
from .box_forms import BoxReading
from .instances import Instances
from .label_files import PicturesByStem, files_below
from .label_words import class_indices, cleaned, label_space
from .own_table import OwnFile, OwnOptions, build_own

VOC_READING = BoxReading("xyxy")
_CORNERS = ("xmin", "ymin", "xmax", "ymax")
Objects = list[tuple[str, list[float]]]
_DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z][\w.:-]*)["'][^>]*\?>""")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949"}
"""Encodings -> the ones that tools mean by their names, in which all of their characters are the same."""


def parse_objects(data: bytes) -> tuple[Objects, tuple[int, int]]:
    """(name and box x0,y0,x1,y1 of every object, image size; (0, 0) where none is stated) of one file.

    Raises:
        ElementTree.ParseError, ValueError: The file is damaged.
    """
    root = _root(data)
    if root.tag != "annotation":
        raise ValueError(f"its outermost element is {shorten(root.tag)}, not annotation: no PASCAL VOC file")
    objects = [
        (o.findtext("name", ""), [as_number(o.findtext(f"bndbox/{c}", "nan")) for c in _CORNERS])
        for o in root.iter("object")
    ]
    width, height = (as_number(root.findtext(f"size/{side}", "0") or "0") for side in ("width", "height"))
    if not (0 <= width < 2**31 and 0 <= height < 2**31 and width == int(width) and height == int(height)):
        raise ValueError(f"a picture of {width}×{height} pixels")
    # One side alone is no size.
    return objects, (int(width), int(height)) if width and height else (0, 0)


def _root(data: bytes) -> ElementTree.Element:
    """The outermost element, in the encoding that the file declares; the reader itself knows none of several bytes."""
    declared = _DECLARED.match(data[:200])
    try:
        return ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError):
        name = declared[1].decode() if declared else "UTF-8"
        try:
            codec = codecs.lookup(name).name
        except LookupError:
            raise ValueError(f"it declares the encoding {name}, which is not known; save it as UTF-8") from None
        try:
            text = data.decode(_WIDER.get(codec, codec))
        except UnicodeDecodeError as error:
            what = "it declares" if declared else "without a declaration it is"
            raise ValueError(
                f"no {name}, which {what} (byte {data[error.start]:#04x}); save it as UTF-8, or declare its encoding"
            ) from None
        if codec == "utf-8" or declared is None:
            raise
        return ElementTree.fromstring(text[declared.end() :])


def build_voc(root: Path, folder: Path, images: Path, options: OwnOptions, labels: str) -> Built:
    """Rows of a folder of VOC files; pictures have their files' names.

    Args:
        root: Folder that image ids are relative to.
        folder: The XML files, also in folders below. images: The pictures.
        options: The user's choices. labels: Their kind (``label_words``).

    Raises:
        DatasetError: Files that cannot be read, objects without a box or a name, no label at all.
    """
    findings, pictures = Findings(), PicturesByStem(root, images)
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    owner, words, numbers = list[int](), list[str](), list[list[float]]()
    bad: list[str] = []
    for file in files_below(folder, ".xml"):
        picture = pictures.of(file)
        try:
            objects, size = parse_objects((folder / file).read_bytes())
            if any(not cleaned(word) or np.isnan(box).any() for word, box in objects):
                raise ValueError("an object without a name, or without four corners")
        except (ElementTree.ParseError, ValueError, OSError) as error:
            bad.append(f"{file} ({error})")
            continue
        if picture is None:
            continue
        owner += [len(names)] * len(objects)
        names.append(picture)
        sizes.append(size)
        words += [cleaned(word) for word, _ in objects]
        numbers += [box for _, box in objects]
    pictures.close(folder, findings)
    if bad:
        findings.error(f"{len(bad):,} XML files cannot be read: {some(bad)}", folder, "mend or remove them", len(bad))
    bare = pictures.unused()
    findings.raise_errors(f"folder {folder.name}")
    if not words:
        raise DatasetError(f"{folder}: no XML file has an object")
    index_of, classes, known = class_indices(words, labels, folder, findings)
    inst = Instances(
        images=[*names, *bare],
        sizes=np.array([*sizes, *[(0, 0)] * len(bare)], np.int64).reshape(-1, 2),
        owner=np.array(owner, np.int64),
        labels=np.array([index_of[word] for word in words], np.int64),
        numbers=np.array(numbers, np.float64).reshape(-1, 4),
    )
    facts = {"num_classes_known": known, **label_space(labels, classes)}
    return build_own(root, OwnFile(folder, inst, classes, has_boxes=True, facts=facts), options, findings)
