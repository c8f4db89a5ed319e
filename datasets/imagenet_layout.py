"""Where ImageNet's images, labels and boxes lie in the layouts that people have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .findings import MissingSplitError
from .imagenet_sources import GROUND_TRUTH, label_of
from .locate import Expected, inventory
from .schema import DatasetError

TRAIN = ("train", "ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train")
_VAL = ("val", "ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "validation")
_TAR = "ILSVRC2012_img_val.tar"
_XML = (
    "ILSVRC/Annotations/CLS-LOC/val",
    "Annotations/CLS-LOC/val",
    "bbox_val",
    "bbox_val/val",
    "ILSVRC2012_bbox_val_v3",
    "ILSVRC2012_bbox_val_v3/val",
    "Annotation/val",
)
_DEVKIT = (
    "ILSVRC2012_devkit_t12/data",
    "devkit/data",
    "devkit",
    "imagenet_devkit",
    "ILSVRC2012_devkit_t12.tar.gz",
    "",
)
EXPECTED = Expected(
    name="imagenet",
    markers=(*_VAL, _TAR, *TRAIN),
    nested=("imagenet", "ImageNet", "ILSVRC2012"),
    what="ImageNet-1K (train/ and val/, the Kaggle tree ILSVRC/, or ILSVRC2012_img_val.tar with the devkit)",
)


@dataclass(frozen=True)
class Sources:
    """Where the validation images, labels and boxes come from."""

    images: Path
    by_class: bool
    xml: Path | None
    solution: Path | None
    devkit: Path | None

    @property
    def variant(self) -> str:
        """In words, for the doctor."""
        kind = (
            "validation tar read in place" if self.images.is_file() else ("wnid folders" if self.by_class else "flat")
        )
        labels = (
            "" if self.by_class else (" + devkit" if self.devkit else " + CSV" if self.solution else " + XML labels")
        )
        boxes = "XML boxes" if self.xml else "LOC_val_solution.csv boxes" if self.solution else "no boxes"
        return f"{kind}{labels}, {boxes}"


def find_validation(base: Path, options: Mapping[str, Any]) -> Sources:
    """The validation images and their annotations; ``DatasetError`` says what is missing."""
    images = next((base / n for n in _VAL if (base / n).is_dir()), None)
    if images is None or not any(images.iterdir()):
        images = base / _TAR if (base / _TAR).is_file() else images
    if images is None:
        raise MissingSplitError(f"imagenet: no validation images in {base} (val/ or {_TAR}); {inventory(base)}")
    xml, solution = _boxes(base, options)
    devkit = _devkit(base, options)
    by_class = images.is_dir() and any(p.name in label_of() for p in images.iterdir() if p.is_dir())
    if not by_class and devkit is None and solution is None and xml is None:
        raise DatasetError(
            f"imagenet: {images} has no class folders, so labels must come from elsewhere: put "
            f"ILSVRC2012_devkit_t12.tar.gz (image-net.org) or LOC_val_solution.csv (Kaggle) into {base}"
        )
    return Sources(images, by_class, xml, solution, devkit)


def _boxes(base: Path, options: Mapping[str, Any]) -> tuple[Path | None, Path | None]:
    if "boxes" in options:
        path = Path(str(options["boxes"])).expanduser()
        if not path.exists():
            raise DatasetError(f"imagenet: boxes={path}: no such folder or file")
        return (path, None) if path.is_dir() else (None, path)
    places = _places(base)
    folders = (p / n for p in places for n in _XML)
    xml = next((f for f in folders if f.is_dir() and any(f.glob("*.xml"))), None)
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
        path = Path(str(options["devkit"])).expanduser()
        if path.is_dir() and not (path / GROUND_TRUTH).is_file() and (path / "data" / GROUND_TRUTH).is_file():
            path = path / "data"
        if not (path.is_file() or (path / GROUND_TRUTH).is_file()):
            raise DatasetError(f"imagenet: devkit={path}: no {GROUND_TRUTH} there")
        return path
    candidates = (p / n for p in _places(base) for n in _DEVKIT)
    return next((p for p in candidates if p.is_file() or (p / GROUND_TRUTH).is_file()), None)
