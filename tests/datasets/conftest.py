"""Miniature replicas of the published layouts, in their real file formats."""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import datasets as hf
import numpy as np
import pytest
import scipy.io
from PIL import Image

sys.path.append(str(Path(__file__).parent))
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
WNIDS = ("n01440764", "n01443537", "n15075141")
WNID_LABELS = (0, 1, 999)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("CAMBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def shared_data() -> Path:
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data")
    return SHARED


def draw_image(path: Path, size: tuple[int, int] = (40, 30), mode: str = "RGB", seed: int = 0, **save: object) -> Path:
    rng = np.random.default_rng(seed)
    channels = {"L": (), "RGB": (3,), "CMYK": (4,), "RGBA": (4,), "LA": (2,)}[mode]
    path.parent.mkdir(parents=True, exist_ok=True)
    small = rng.integers(0, 256, (6, 8, *channels), dtype=np.uint8)
    Image.fromarray(small, mode).resize(size).save(path, **save)
    return path


def draw_mask(path: Path, size: tuple[int, int], box: tuple[int, int, int, int], value: int = 255) -> Path:
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[box[1] : box[3], box[0] : box[2]] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def pack_tar(archive: Path, folder: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname=folder.name)
    return archive


@pytest.fixture
def jpeg() -> Callable[..., Path]:
    return draw_image


@pytest.fixture
def pack() -> Callable[..., Path]:
    return pack_tar


@pytest.fixture
def png_mask() -> Callable[..., Path]:
    return draw_mask


@pytest.fixture
def cub_replica(tmp_path: Path) -> Path:
    """12 images of classes 3, 12 and 200; id parity decides the split; every fourth file another JPEG mode."""
    base = tmp_path / "CUB_200_2011"
    classes = {3: "003.Sooty_Albatross", 12: "012.Yellow_headed_Blackbird", 200: "200.Common_Yellowthroat"}
    lists: dict[str, list[str]] = {
        n: [] for n in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    for i in range(12):
        image_id, class_id = 101 + i, list(classes)[i // 4]
        name = f"{classes[class_id]}/Bird_{i:04d}.jpg"
        draw_image(base / "images" / name, (40 + i, 30), ("RGB", "L", "CMYK", "RGB")[i % 4], seed=i)
        lists["images"].append(f"{image_id} {name}")
        lists["image_class_labels"].append(f"{image_id} {class_id}")
        lists["train_test_split"].append(f"{image_id} {i % 2}")
        lists["bounding_boxes"].append(f"{image_id} {2.0 + i} 3.0 20.0 15.0")
    lists["classes"] = [f"{k} {v}" for k, v in classes.items()]
    for name, lines in lists.items():
        (base / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return base


@pytest.fixture
def cub_masks(cub_replica: Path) -> Path:
    for line in (cub_replica / "images.txt").read_text().splitlines():
        name = line.split()[1]
        with Image.open(cub_replica / "images" / name) as image:
            draw_mask(cub_replica / "segmentations" / f"{name[:-4]}.png", image.size, (5, 5, 20, 20), 51)
    return cub_replica / "segmentations"


@pytest.fixture
def cars_replica(tmp_path: Path) -> Path:
    base = tmp_path / "stanford_cars"
    names = np.array([f"Car {i}" for i in range(196)], dtype=object)
    for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
        rows = np.zeros(6, dtype=[(f, object) for f in fields])
        for i in range(6):
            name = f"{i + 1:05d}.jpg"
            draw_image(base / f"cars_{part}" / name, (40, 30), seed=i)
            # The last box ends one pixel outside, as in the published annotations.
            rows[i] = (1 + i, 2, 41 if i == 5 else 30, 25, 196 if i > 2 else 1, name)
        (base / "devkit").mkdir(exist_ok=True)
        scipy.io.savemat(base / file, {"annotations": rows})
    scipy.io.savemat(base / "devkit" / "cars_meta.mat", {"class_names": names})
    return base


VOC = """<annotation><filename>{stem}</filename><size><width>{w}</width><height>{h}</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = (
    "<object><name>{wnid}</name><bndbox><xmin>{b[0]}</xmin><ymin>{b[1]}</ymin><xmax>{b[2]}</xmax><ymax>{b[3]}</ymax>"
    "</bndbox></object>"
)


class ImageNetReplica:
    """Six validation images of three classes, each variant written on demand."""

    size = (40, 30)

    def __init__(self, base: Path) -> None:
        self.base = base
        self.stems = [f"ILSVRC2012_val_{i:08d}" for i in range(1, 7)]
        self.classes = [i % 3 for i in range(6)]
        self.labels = [WNID_LABELS[c] for c in self.classes]
        self.boxes = [[[1 + i, 2, 20, 25]] + ([[5, 5, 30, 28]] if i == 0 else []) for i in range(6)]
        base.mkdir()

    def by_class(self, folder: str = "val") -> None:
        for i, stem in enumerate(self.stems):
            draw_image(self.base / folder / WNIDS[self.classes[i]] / f"{stem}.JPEG", self.size, seed=i, format="JPEG")

    def flat(self, folder: str = "val") -> None:
        for i, stem in enumerate(self.stems):
            draw_image(self.base / folder / f"{stem}.JPEG", self.size, seed=i, format="JPEG")

    def tar(self) -> None:
        self.flat("flat")
        with tarfile.open(self.base / "ILSVRC2012_img_val.tar", "w") as tar:
            for path in sorted((self.base / "flat").iterdir()):
                tar.add(path, arcname=path.name)
                path.unlink()
        (self.base / "flat").rmdir()

    def xml(self, folder: str) -> None:
        (self.base / folder).mkdir(parents=True)
        for i, stem in enumerate(self.stems):
            objects = "".join(OBJECT.format(wnid=WNIDS[self.classes[i]], b=b) for b in self.boxes[i])
            text = VOC.format(stem=stem, w=self.size[0], h=self.size[1], objects=objects)
            (self.base / folder / f"{stem}.xml").write_text(text)

    def solution(self) -> None:
        lines = ["ImageId,PredictionString"]
        for i, stem in enumerate(self.stems):
            parts = " ".join(f"{WNIDS[self.classes[i]]} {' '.join(map(str, b))}" for b in self.boxes[i])
            lines.append(f"{stem},{parts} ")
        (self.base / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")

    def devkit(self) -> None:
        """All 1,000 classes with ids in another order than the wnids, and 50,000 ground-truth lines."""
        from cambench.datasets.formats.wnids import imagenet_wnids

        fields = ["ILSVRC2012_ID", "WNID", "num_children"]
        rows = np.zeros(1001, dtype=[(f, object) for f in fields])
        for i, wnid in enumerate(reversed(imagenet_wnids())):
            rows[i] = (i + 1, wnid, 0)
        rows[1000] = (1001, "n00001740", 2)
        folder = self.base / "ILSVRC2012_devkit_t12" / "data"
        folder.mkdir(parents=True)
        scipy.io.savemat(folder / "meta.mat", {"synsets": rows})
        truth = [1000 - label for label in self.labels] + [1] * (50_000 - 6)
        (folder / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(map(str, truth)) + "\n")

    def train(self, folder: str = "train", each: int = 5) -> None:
        for wnid in WNIDS:
            for i in range(each):
                draw_image(self.base / folder / wnid / f"{wnid}_{i}.JPEG", self.size, seed=i, format="JPEG")


@pytest.fixture
def imagenet_replica(tmp_path: Path) -> ImageNetReplica:
    return ImageNetReplica(tmp_path / "imagenet")


@pytest.fixture
def wsol_replica(tmp_path: Path) -> tuple[Path, Path]:
    """(images, metadata) of six images with boxes in the pixels of another size than the files'."""
    root, meta = tmp_path / "images", tmp_path / "metadata" / "test"
    meta.mkdir(parents=True)
    ids = [f"test/{c}/{i}.jpg" for c in "ab" for i in range(3)]
    for i, image_id in enumerate(ids):
        draw_image(root / image_id, seed=i)
    (meta / "image_ids.txt").write_text("\n".join(ids))
    (meta / "class_labels.txt").write_text("\n".join(f"{n},{i // 3}" for i, n in enumerate(ids)))
    (meta / "image_sizes.txt").write_text("\n".join(f"{n},400,300" for n in ids))
    lines = [f"{n},{10 + i},20,200,{150 + i}" for i, n in enumerate(ids)]
    (meta / "localization.txt").write_text("\n".join([*lines, f"{ids[0]},30,30,399,299"]) + "\n")
    return root, meta.parent


@pytest.fixture
def tiny_replica(tmp_path: Path) -> Path:
    base = tmp_path / "tiny-imagenet-200"
    wnids = ["n02124075", "n01443537"]
    for wnid in wnids:
        lines = []
        for i in range(3):
            draw_image(base / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", (64, 64), seed=i, format="JPEG")
            lines.append(f"{wnid}_{i}.JPEG\t{i}\t2\t63\t50")
        (base / "train" / wnid / f"{wnid}_boxes.txt").write_text("\n".join(lines) + "\n")
    lines = []
    for i in range(4):
        draw_image(base / "val" / "images" / f"val_{i}.JPEG", (64, 64), "L" if i == 2 else "RGB", seed=i, format="JPEG")
        lines.append(f"val_{i}.JPEG\t{wnids[i % 2]}\t1\t2\t{30 + i}\t50")
    (base / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (base / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (base / "words.txt").write_text("n01443537\tgoldfish, Carassius auratus\nn02124075\tEgyptian cat\n")
    return base


@pytest.fixture
def openimages_replica(tmp_path: Path) -> Path:
    base = tmp_path / "OpenImages"
    for split in ("train", "val", "test"):
        for label, name in enumerate(("01226z", "0by6g")):
            for i in range(2):
                stem = f"{label}{i}ab"
                folder = base / split / name
                draw_image(folder / f"{stem}.jpg", (40, 30), seed=i)
                if split != "train":
                    draw_mask(folder / f"{stem}_m{name}_1a2b3c4d.png", (80, 60), (10, 10, 40, 40))
                    draw_mask(folder / f"{stem}_ignore.png", (80, 60), (30, 30, 60, 50))
                    if i == 0:
                        draw_mask(folder / f"{stem}_m{name}_5a2b3c4d.png", (80, 60), (60, 5, 75, 20))
    return base


def hub_name(path: Path, label: int) -> str:
    """The hub's file names end in the wnid."""
    return path.name if path.stem[-9:] in WNIDS else f"{path.stem}_{WNIDS[WNID_LABELS.index(label)]}.JPEG"


def write_shards(base: Path, part: str, files: list[tuple[Path, int]], shards: int = 2) -> None:
    """``files``: (published path, label), shuffled over shards as the hub's are, two pictures a row group."""
    order = np.random.default_rng(0).permutation(len(files))
    (base / "data").mkdir(exist_ok=True)
    for number, rows in enumerate(np.array_split(order, shards)):
        names = [hub_name(*files[i]) for i in rows]
        data = {
            "image": [{"bytes": files[i][0].read_bytes(), "path": n} for i, n in zip(rows, names, strict=True)],
            "label": [files[i][1] for i in rows],
        }
        features = hf.Features({"image": hf.Image(), "label": hf.ClassLabel(num_classes=1000)})
        table = hf.Dataset.from_dict(data, features=features)
        table.to_parquet(base / "data" / f"{part}-{number:05d}-of-{shards:05d}.parquet", batch_size=2)


@pytest.fixture
def hub_shards() -> Callable[..., None]:
    return write_shards
