"""ImageNet's labels and boxes in the forms people have: devkit, LOC_val_solution.csv (SEMANTICS §7)."""

from __future__ import annotations

import tarfile
from math import isfinite
from pathlib import Path

from ...disk.matfiles import read_mat
from ...disk.textfiles import as_number, csv_rows, decode_lines, read_lines, shorten
from ...findings import Findings
from ...formats.wnids import imagenet_wnids
from ...schema import DatasetError
from .xml_boxes import Annotations

GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
VAL_IMAGES = 50_000


def label_of() -> dict[str, int]:
    """wnid -> label: the rank in sorted order, not the devkit's ILSVRC2012_ID."""
    return {wnid: i for i, wnid in enumerate(imagenet_wnids())}


def read_devkit(place: Path) -> dict[str, int]:
    """Labels of the 50,000 validation images from a devkit folder or ILSVRC2012_devkit_t12.tar.gz.

    Raises:
        DatasetError: A file is missing, damaged, or has not 50,000 lines.
    """
    meta_bytes, lines, where = _devkit_archive(place) if place.is_file() else _devkit_folder(place)
    meta = read_mat(meta_bytes, f"meta.mat of {where}")
    try:
        synsets = meta["synsets"]
        wnid_of = {int(s["ILSVRC2012_ID"]): str(s["WNID"]) for s in synsets if int(s["num_children"]) == 0}
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise DatasetError(f"meta.mat of {where}: no table `synsets` in it ({error}); is it the devkit's?") from error
    if len(lines) != VAL_IMAGES:
        raise DatasetError(f"{where}: {len(lines):,} lines, expected {VAL_IMAGES:,}: is the file truncated?")
    labels = label_of()
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        try:
            found[f"ILSVRC2012_val_{number:08d}"] = labels[wnid_of[int(line)]]
        except (ValueError, KeyError):
            raise DatasetError(f"{where}:{number}: {line!r} is not a class id 1 … 1000") from None
    return found


def _devkit_folder(place: Path) -> tuple[bytes, list[str], str]:
    meta, truth = place / "meta.mat", place / GROUND_TRUTH
    if not meta.is_file():
        raise DatasetError(f"{meta}: no such file; it belongs to ILSVRC2012_devkit_t12.tar.gz")
    return meta.read_bytes(), read_lines(truth), str(truth)


def _devkit_archive(place: Path) -> tuple[bytes, list[str], str]:
    try:
        with tarfile.open(place) as tar:
            content = {
                Path(m.name).name: file.read()
                for m in tar
                if m.isreg() and Path(m.name).name in ("meta.mat", GROUND_TRUTH) and (file := tar.extractfile(m))
            }
        return content["meta.mat"], decode_lines(content[GROUND_TRUTH], f"{place}:{GROUND_TRUTH}"), str(place)
    except (tarfile.TarError, EOFError, OSError, KeyError) as error:
        raise DatasetError(f"{place}: cannot be read ({error}); is the download complete?") from error


def read_solution(path: Path, findings: Findings) -> Annotations:
    """Kaggle's LOC_val_solution.csv: `ImageId,wnid x0 y0 x1 y1 wnid …`."""
    labels, result = label_of(), Annotations()
    for number, row in csv_rows(path):
        if number == 1 and row[:1] == ["ImageId"]:
            continue
        fields = row[1].split() if len(row) == 2 else []
        try:
            if not fields or len(fields) % 5:
                raise ValueError
            numbers = [[as_number(v) for v in fields[i + 1 : i + 5]] for i in range(0, len(fields), 5)]
            label = labels[fields[0]]
            if not all(isfinite(v) for box in numbers for v in box):
                raise ValueError
        except (ValueError, KeyError):
            findings.line(f"{shorten(','.join(row))} is not `id,wnid x0 y0 x1 y1 …`", path, number, "truncated?")
            continue
        if row[0] in result.labels:
            findings.line(f"{row[0]} is listed twice", path, number, "remove the duplicate line")
        result.labels[row[0]], result.boxes[row[0]] = label, numbers
    return result
