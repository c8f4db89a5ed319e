"""Where each data set comes from: files, sizes, checksums and official pages, for the doctor and the download."""

from __future__ import annotations

from dataclasses import dataclass

from ..schema import SPLITS


@dataclass(frozen=True)
class SourceFile:
    """One file of a publisher. ``url`` is empty where it is given out on a page only (registration, terms, no HTTPS).

    ``size`` in bytes, 0 where not published; ``checksum``: ``md5:…`` or ``sha256:…``, empty where not published.
    ``unpacks_to``: a path that exists below the root once the archive is extracted, ``elsewhere``: where other copies
    have it; ``gives``: splits, ``boxes``, ``masks``; ``optional``: not needed for boxes.
    """

    name: str
    page: str
    url: str = ""
    size: int = 0
    checksum: str = ""
    unpacks_to: str = ""
    gives: tuple[str, ...] = SPLITS
    optional: bool = False
    elsewhere: tuple[str, ...] = ()

    @property
    def step(self) -> str:
        """What to do to get it, in words."""
        size = f", {self.size:,} bytes" if self.size else ""
        check = f", {self.checksum.replace(':', ' ')}" if self.checksum else ""
        return f"{self.name}{size}{check}: {self.page}"


@dataclass(frozen=True)
class HubSource:
    """Files of a data-set repository on the Hugging Face hub, at a fixed revision; checksums are the hub's own.

    ``gigabytes``: about; ``gated``: its terms must be accepted there first; ``replaces``: publisher's files that are
    then not needed; ``gives``: splits.
    """

    repo: str
    revision: str
    pattern: str
    gigabytes: int
    gated: bool = False
    replaces: tuple[str, ...] = ()
    optional: bool = False
    gives: tuple[str, ...] = ()

    @property
    def step(self) -> str:
        """What to do to get it, in words."""
        terms = ", after accepting its terms there" if self.gated else ""
        return f"{self.pattern}, about {self.gigabytes} GB: {self.repo} on the Hugging Face hub{terms}"


_CALTECH, _IMAGENET = "CaltechDATA", "image-net.org, Download, ILSVRC2012 (free registration)"
_CARS = "Stanford Cars (its first page is gone, and torchvision's downloader with it; its issue 7545 names Kaggle)"
_WSOL = "clovaai/wsolevaluation, dataset section of its README"

SOURCES: dict[str, tuple[SourceFile, ...]] = {
    "cub": (
        SourceFile(
            "CUB_200_2011.tgz",
            f"{_CALTECH}, record 65de6-vp158",
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            1_150_585_339,
            "md5:97eceeb196236b17998738112f37df78",
            "CUB_200_2011/images.txt",
        ),
        SourceFile(
            "segmentations.tgz",
            f"{_CALTECH}, record w9d68-gec53",
            "https://data.caltech.edu/records/w9d68-gec53/files/segmentations.tgz",
            39_272_883,
            "md5:4d47ba1228eae64f2fa547c47bc65255",
            "segmentations",
            gives=("masks",),
            optional=True,
            elsewhere=("CUB_200_2011/segmentations",),
        ),
    ),
    "tiny_imagenet": (
        SourceFile(
            "tiny-imagenet-200.zip",
            "Stanford CS231n",
            "https://cs231n.stanford.edu/tiny-imagenet-200.zip",
            248_100_043,
            "md5:90528d7ca1a48142e341f4ef8d21d0de",
            "tiny-imagenet-200/wnids.txt",
        ),
    ),
    "stanford_cars": (
        SourceFile(
            "cars_train.tgz",
            _CARS,
            checksum="md5:065e5b463ae28d29e77c1b4b166cfe61",
            unpacks_to="cars_train",
            gives=("train", "val"),
            elsewhere=("stanford_cars/cars_train", "car_ims", "car_data"),
        ),
        SourceFile(
            "cars_test.tgz",
            _CARS,
            checksum="md5:4ce7ebf6a94d07f1952d94dd34c4d501",
            unpacks_to="cars_test",
            gives=("test",),
            elsewhere=("stanford_cars/cars_test", "car_ims", "car_data"),
        ),
        SourceFile(
            "car_devkit.tgz",
            _CARS,
            checksum="md5:c3b158d763b6e2245038c8ad08e45376",
            unpacks_to="devkit",
            gives=(*SPLITS, "boxes"),
            elsewhere=("stanford_cars/devkit", "car_devkit", "cars_annos.mat", "anno_train.csv"),
        ),
        SourceFile(
            "cars_test_annos_withlabels.mat",
            _CARS,
            checksum="md5:b0a2b23655a3edd16d84508592a98d10",
            unpacks_to="cars_test_annos_withlabels.mat",
            gives=("test", "boxes"),
            elsewhere=(
                *(f"{d}/cars_test_annos_withlabels.mat" for d in ("stanford_cars", "devkit", "car_devkit/devkit")),
                *("cars_annos.mat", "anno_test.csv"),
            ),
        ),
    ),
    "imagenet": (
        SourceFile(
            "ILSVRC2012_img_val.tar",
            _IMAGENET,
            size=6_744_924_160,
            checksum="md5:29b22e2961454d5413ddabcf34fc5622",
            unpacks_to="val",
            gives=("test",),
            elsewhere=("ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "imagenet/val"),
        ),
        SourceFile(
            "ILSVRC2012_img_train.tar",
            _IMAGENET,
            size=147_897_477_120,
            checksum="md5:1d675b47d978889d74fa0da5fadfb00e",
            unpacks_to="train",
            gives=("train",),
            optional=True,
            elsewhere=("ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "imagenet/train"),
        ),
        SourceFile(
            "ILSVRC2012_devkit_t12.tar.gz",
            _IMAGENET,
            checksum="md5:fa75699e90414af021442c21a62c3abf",
            unpacks_to="devkit",
            gives=("labels",),
        ),
        SourceFile("ILSVRC2012_bbox_val_v3.tgz", _IMAGENET, unpacks_to="bbox_val", gives=("boxes",)),
        SourceFile(
            "ILSVRC2012_bbox_train_v2.tar.gz",
            _IMAGENET,
            unpacks_to="bbox_train",
            gives=("train_boxes",),
            optional=True,
        ),
        SourceFile(
            "LOC_val_solution.csv",
            "Kaggle, ImageNet Object Localization Challenge (instead of the devkit and ILSVRC2012_bbox_val_v3.tgz)",
            gives=("boxes", "labels"),
            optional=True,
        ),
    ),
    "openimages30k": (
        SourceFile("OpenImages30k images and masks", _WSOL, unpacks_to="val", gives=(*SPLITS, "masks")),
        SourceFile("metadata/OpenImages", _WSOL, unpacks_to="metadata", gives=(*SPLITS, "masks")),
    ),
    "wsol": (SourceFile("metadata", _WSOL),),
}

_HUB_IMAGENET = ("ILSVRC/imagenet-1k", "49e2ee26f3810fb5a7536bbf732a7b07389a47b5")
HUB: dict[str, tuple[HubSource, ...]] = {
    "imagenet": (
        HubSource(
            *_HUB_IMAGENET,
            "data/validation-*-of-00014.parquet",
            7,
            gated=True,
            gives=("test", "labels"),
            replaces=("ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"),
        ),
        HubSource(
            *_HUB_IMAGENET,
            "data/train-*-of-00294.parquet",
            148,
            gated=True,
            gives=("train",),
            replaces=("ILSVRC2012_img_train.tar",),
            optional=True,
        ),
    ),
}
