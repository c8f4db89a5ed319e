"""Where ImageNet's images, labels and boxes lie in the layouts that people have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ....home import expanded
from ...disk.locate import Expected, inventory, known
from ...schema import DatasetError, MissingSplitError
from .image_files import published_name
from .label_sources import GROUND_TRUTH, label_of
from .xml_boxes import xml_files

TRAIN = ("train", "ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train")
_VAL = ("val", "ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "validation")
_TAR, TRAIN_TAR = "ILSVRC2012_img_val.tar", "ILSVRC2012_img_train.tar"
_SHARDS = ("data", "")
"""Where the hub's shards lie below the folder that its download made."""
_XML = (
    "ILSVRC/Annotations/CLS-LOC/val",
    "Annotations/CLS-LOC/val",
    "bbox_val",
    "bbox_val/val",
    "ILSVRC2012_bbox_val_v3",
    "ILSVRC2012_bbox_val_v3/val",
    "Annotation/val",
)
_XML_ARCHIVE = "ILSVRC2012_bbox_val_v3.tgz"
_TRAIN_XML = (
    "ILSVRC/Annotations/CLS-LOC/train",
    "Annotations/CLS-LOC/train",
    "bbox_train",
    "ILSVRC2012_bbox_train_v2",
    "bbox_train_v2",
    "bounding_boxes",
    "ILSVRC2012_bbox_train_v2.tar.gz",
)
_DEVKIT = (
    "ILSVRC2012_devkit_t12/data",
    "devkit/data",
    "devkit",
    "imagenet_devkit",
    "ILSVRC2012_devkit_t12.tar.gz",
    "",
)
_PARTS = ("validation", "train")
_WNID = "n" + "[0-9]" * 8 + "*"
EXPECTED = known(
    Expected(
        name="imagenet",
        markers=(
            *_VAL,
            _TAR,
            *TRAIN,
            TRAIN_TAR,
            *(f"{d}{s}-00000-of-*.parquet" for d in ("data/", "") for s in _PARTS),
        ),
        nested=("imagenet", "ImageNet", "ILSVRC2012", "imagenet-1k"),
        what="ImageNet-1K (train/ and val/, the Kaggle tree ILSVRC/, the published tars, or the hub's Parquet shards)",
        contents=(
            *(f"{folder}/n[0-9]*" for folder in (*_VAL, *TRAIN)),
            *(f"{folder}/ILSVRC2012_val_*" for folder in _VAL),
            *(_TAR, TRAIN_TAR),
            *(f"{folder}{part}-00000-of-*.parquet" for folder in ("data/", "") for part in _PARTS),
        ),
        strangers=(("wnids.txt", "Tiny ImageNet (tiny_imagenet)"),),
        signs=(
            *(f"{folder}/{_WNID}" for folder in (*_VAL, *TRAIN)),
            *(f"{folder}/ILSVRC2012_val_*" for folder in _VAL),
        ),
    )
)


@dataclass(frozen=True)
class Sources:
    """Where the validation images, labels and boxes come from."""

    images: Path
    by_class: bool
    xml: Path | None
    solution: Path | None
    devkit: Path | None
    shards: tuple[Path, ...] = ()

    @property
    def variant(self) -> str:
        """In words, for the doctor."""
        kind = (
            "validation tar read in place" if self.images.is_file() else ("wnid folders" if self.by_class else "flat")
        )
        labels = (
            "" if self.by_class else (" + devkit" if self.devkit else " + CSV" if self.solution else " + XML labels")
        )
        if self.shards:
            kind, labels = "Hugging Face hub's shards read in place", ""
        boxes = "XML boxes" if self.xml else "LOC_val_solution.csv boxes" if self.solution else "no boxes"
        return f"{kind}{labels}, {boxes}"


def find_validation(base: Path, options: Mapping[str, Any]) -> Sources:
    """The validation images and their annotations; ``DatasetError`` says what is missing."""
    images = next((base / n for n in _VAL if (base / n).is_dir()), None)
    if images is None or not any(images.iterdir()):
        images = base / _TAR if (base / _TAR).is_file() else images
    if images is None and (shards := find_shards(base, "validation")):
        return Sources(shards[0].parent, False, *_boxes(base, options), None, shards)
    if images is None:
        raise MissingSplitError(f"imagenet: no validation images in {base} (val/ or {_TAR}); {inventory(base)}")
    xml, solution = _boxes(base, options)
    devkit = _devkit(base, options)
    by_class = images.is_dir() and any(p.name in label_of() for p in images.iterdir() if p.is_dir())
    named = by_class or (images.is_dir() and any(published_name(p.name)[1] for p in islice(images.iterdir(), 8)))
    if not named and devkit is None and solution is None and xml is None:
        raise DatasetError(
            f"imagenet: {images} has no class folders, so labels must come from elsewhere: put "
            f"ILSVRC2012_devkit_t12.tar.gz (image-net.org) or LOC_val_solution.csv (Kaggle) into {base}"
        )
    return Sources(images, by_class, xml, solution, devkit)


def _boxes(base: Path, options: Mapping[str, Any]) -> tuple[Path | None, Path | None]:
    if "boxes" in options:
        path = expanded(options["boxes"])
        if not path.exists():
            raise DatasetError(f"imagenet: boxes={path}: no such folder or file")
        if path.is_dir():
            holding = next((p for p in (path, path / "val") if p.is_dir() and any(xml_files(p))), None)
            if holding is None:
                raise DatasetError(f"imagenet: boxes={path}: no XML files there; {inventory(path)}")
            return holding, None
        return (None, path) if path.suffix == ".csv" else (path, None)
    places = _places(base)
    folders = (p / n for p in places for n in _XML)
    xml = next((f for f in folders if f.is_dir() and any(xml_files(f))), None)
    archives = (p / _XML_ARCHIVE for p in places)
    xml = xml or next((a for a in archives if a.is_file()), None)
    solutions = (p / "LOC_val_solution.csv" for p in places)
    return xml, next((s for s in solutions if s.is_file()), None)


def _places(base: Path) -> list[Path]:
    """The base, and the folders above it where it is a part of the Kaggle tree (ILSVRC/Data/CLS-LOC)."""
    places = [base]
    while places[-1].name in ("CLS-LOC", "Data", "ILSVRC"):
        places.append(places[-1].parent)
    return places


def _devkit(base: Path, options: Mapping[str, Any]) -> Path | None:
    if "devkit" in options:
        path = expanded(options["devkit"])
        if path.is_dir() and not (path / GROUND_TRUTH).is_file() and (path / "data" / GROUND_TRUTH).is_file():
            path = path / "data"
        if not (path.is_file() or (path / GROUND_TRUTH).is_file()):
            raise DatasetError(f"imagenet: devkit={path}: no {GROUND_TRUTH} there")
        return path
    candidates = (p / n for p in _places(base) for n in _DEVKIT)
    return next((p for p in candidates if p.is_file() or (p / GROUND_TRUTH).is_file()), None)


def find_shards(base: Path, part: str) -> tuple[Path, ...]:
    """The hub's shards of ``train`` or ``validation``; ``DatasetError`` where some of them are missing."""
    for folder in _SHARDS:
        found = sorted((base / folder).glob(f"{part}-*-of-*.parquet"))
        if not found:
            continue
        count = int(found[0].stem.rpartition("-")[2])
        absent = sorted(set(range(count)) - {int(p.stem.split("-")[-3]) for p in found})
        if absent:
            raise DatasetError(
                f"imagenet: {len(absent)} of {count} shards {part}-… are missing in {found[0].parent}, the first "
                f"{part}-{absent[0]:05d}-of-{count:05d}.parquet; run cambench download imagenet again"
            )
        return tuple(found)
    return ()


def find_train_boxes(base: Path, options: Mapping[str, Any]) -> Path | None:
    """Where the training images' XML files are; None where the option leaves them out (the default)."""
    chosen = str(options.get("train_boxes", "off"))
    if chosen == "off":
        return None
    if chosen != "on":
        path = expanded(chosen)
        if not path.exists():
            raise DatasetError(f"imagenet: train_boxes={chosen}: no such folder or archive (or: on, off)")
        return path
    found = next((p / n for p in _places(base) for n in _TRAIN_XML if (p / n).exists()), None)
    if found is None:
        raise DatasetError(
            f"imagenet: train_boxes=on, but there is none of {', '.join(_TRAIN_XML)} in {base}; "
            "ILSVRC2012_bbox_train_v2.tar.gz is given out by image-net.org, read in place"
        )
    return found
