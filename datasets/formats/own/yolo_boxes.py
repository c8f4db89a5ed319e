"""YOLO: one text file for each image; a line is a box (``class x y w h`` in fractions) or a polygon."""

from __future__ import annotations

from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ....yaml_keys import repeated_key
from ...disk.textfiles import as_number, read_lines, shorten
from ...findings import Findings
from ...schema import DatasetError
from ...tables.build import Built
from ...tables.sizes import TOLERANCE
from .box_forms import WHOLE, BoxReading
from .instances import Instances
from .label_files import PicturesByStem, class_files, files_below
from .label_words import class_indices, cleaned, label_space, whole
from .own_table import OwnFile, OwnOptions, build_own
from .predicted import tell_scores

YOLO_READING = BoxReading("cxcywh", "fraction")
_LONGEST_NAMES = 1 << 20
"""Bytes of a file of class names."""


def build_yolo(root: Path, folder: Path, images: Path, options: OwnOptions, labels: str) -> Built:
    """Rows of a folder of YOLO labels; pictures have their files' names.

    A polygon counts by its bounding box. A sixth number of a box is the confidence of a prediction, and is not used;
    nor are the key points that follow a box (``kpt_shape`` in ``data.yaml``, or a third number of 2 at a point).

    Args:
        root: Folder that image ids are relative to.
        folder: The text files, also in folders below. images: The pictures.
        options: The user's choices. labels: Their kind (``label_words``); class names come from ``classes.txt`` or
            ``data.yaml`` in the folder, above it, or in the root.

    Raises:
        DatasetError: Lines that are none, classes that have no name, no label at all.
    """
    findings, pictures = Findings(), PicturesByStem(root, images)
    points = _keypoints(root, folder)
    names: list[str] = []
    owner, classes, numbers, scores = list[int](), list[int](), list[list[float]](), set[float]()
    for file in files_below(folder, ".txt"):
        picture = pictures.of(file)
        if picture is None:
            continue
        for line, text in enumerate(read_lines(folder / file), 1):
            if text.strip():
                found = _box(text, points)
                if found is None:
                    findings.line(f"{shorten(text)} is no 'class x y w h' in fractions", folder / file, line)
                    continue
                owner.append(len(names))
                classes.append(found[0])
                numbers.append(found[1][:4])
                scores.update(found[1][4:])
        names.append(picture)
    pictures.close(folder, findings)
    tell_scores(scores, "the sixth number of the lines", folder, findings)
    findings.raise_errors(f"folder {folder.name}")
    if not classes:
        raise DatasetError(f"{folder}: no label file has a line")
    index, words, known = _classes(classes, class_names(root, folder), labels, folder, findings)
    bare = pictures.unused()
    inst = Instances(
        images=[*names, *bare],
        sizes=np.zeros((len(names) + len(bare), 2), np.int64),
        owner=np.array(owner, np.int64),
        labels=np.array(index, np.int64),
        numbers=np.array(numbers, np.float64).reshape(-1, 4),
    )
    facts = {"num_classes_known": known, **label_space(labels, words)}
    return build_own(root, OwnFile(folder, inst, words, has_boxes=True, facts=facts), options, findings)


def class_names(root: Path, folder: Path) -> tuple[str, ...]:
    """The names that a file beside the labels, above them or in the root lists; none where there is no such file.

    Raises:
        DatasetError: The file is damaged.
    """
    found = class_files(root, folder)
    return _listed(found[0]) if found else ()


def _keypoints(root: Path, folder: Path) -> int:
    """Numbers of the key points after each box, as ``data.yaml`` says; 0 where it says nothing."""
    for file in class_files(root, folder):
        if file.suffix == ".yaml" and file.stat().st_size <= _LONGEST_NAMES:
            # A damaged file is told where its names are read.
            with suppress(yaml.YAMLError, ValueError, TypeError, RecursionError):
                shape = _content(file).get("kpt_shape")
                if (
                    isinstance(shape, list)
                    and len(shape) == 2
                    and all(type(n) is int and 0 < n < 10_000 for n in shape)
                ):
                    return int(shape[0] * shape[1])
    return 0


def _content(file: Path) -> dict[Any, Any]:
    """What a YAML file says; ValueError, TypeError, RecursionError or YAMLError where it is damaged."""
    data = file.read_bytes()
    if (twice := repeated_key(yaml.compose(data, yaml.SafeLoader))) is not None:
        raise ValueError(f"line {twice[1]}: {twice[0]} is given twice")
    content = yaml.safe_load(data)
    if not isinstance(content, dict):
        raise ValueError("no names: in it")
    return content


def _listed(file: Path) -> tuple[str, ...]:
    if file.stat().st_size > _LONGEST_NAMES:
        raise DatasetError(f"{file}: {file.stat().st_size:,} bytes are no list of class names")
    if file.suffix != ".yaml":
        return tuple(cleaned(line) for line in read_lines(file) if line.strip())
    try:
        content = _content(file)
        found = content.get("names", ())
        if isinstance(found, dict):
            if sorted(found) != list(range(len(found))):
                raise ValueError("names: the indices are not 0, 1, 2, …")
            found = [found[i] for i in range(len(found))]
        if not isinstance(found, list | tuple) or not all(isinstance(n, str) or type(n) is int for n in found):
            raise ValueError("names: expected a list of names; put quotes around yes, no, dates and fractions")
        if found and content.get("nc", len(found)) != len(found):
            raise ValueError(f"nc: {content['nc']}, and names: {len(found)} names")
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{file}: cannot be read as a list of class names ({shorten(str(error))})") from None
    return tuple(cleaned(str(name)) for name in found)


def _box(text: str, points: int) -> tuple[int, list[float]] | None:
    """Class and centre, width and height of a line, with a score behind them; None where it says something else.

    ``points``: numbers of the key points that follow each box, 0 where that is not known.
    """
    first, *rest = text.split()
    label = whole(first)
    try:
        values = [as_number(field) for field in rest]
    except ValueError:
        return None
    if label is None or label < 0 or not all(map(isfinite, values)):
        return None
    if len(values) in (4, 5):
        return label, values
    if (points and len(values) == 4 + points) or _has_keypoints(values):
        return label, values[:4]
    if len(values) < 6 or len(values) % 2 or not all(-TOLERANCE <= v <= WHOLE + TOLERANCE for v in values):
        return None
    values = [min(max(v, 0.0), 1.0) for v in values]
    x, y = values[0::2], values[1::2]
    return label, [(min(x) + max(x)) / 2, (min(y) + max(y)) / 2, max(x) - min(x), max(y) - min(y)]


def _has_keypoints(values: list[float]) -> bool:
    """Whether points of x, y and a mark of 0, 1 or 2 follow a box: some mark is 2, which no fraction is."""
    marks = values[6::3]
    return len(values) > 4 and (len(values) - 4) % 3 == 0 and set(marks) <= {0.0, 1.0, 2.0} and 2.0 in marks


def _classes(
    classes: list[int], known: tuple[str, ...], labels: str, where: Path, findings: Findings
) -> tuple[list[int], tuple[str, ...], bool]:
    """Class index of each instance, the names by index, and whether their number is known."""
    unnamed = sorted({c for c in classes if known and c >= len(known)})
    if unnamed:
        raise DatasetError(f"{where}: class {unnamed[0]} has no name: {len(known)} names are listed, from 0")
    if known and labels in ("auto", "indices"):
        return classes, known, True
    words = [known[c] if known else str(c) for c in classes]
    index_of, names, is_known = class_indices(words, labels, where, findings)
    return [index_of[word] for word in words], names, is_known
