"""The paper's data sets in miniature, and requests for its tables on them."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from cambench.bench.paper.requests import Reproduction

SLIM = {"vgg16": "slim_vgg", "vgg16_gap": "slim_vgg_gap", "resnet50": "slim_resnet"}
SLIM_5 = {**SLIM, "inception_v3": "slim_inception", "inception_v3_gap": "timm:test_resnet"}
RECIPE = """name: tiny
source: a test
epochs: 1
batch_size: 3
size: 64
optimiser: {name: sgd, lr: 0.01, weight_decay: 0.0}
schedule: {kind: step}
augment: null
"""


def draw_picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_tiny_cub(base):
    lists = {n: [] for n in ("images", "image_class_labels", "train_test_split", "bounding_boxes", "classes")}
    lists["classes"] = ["1 001.Albatross", "2 002.Wren"]
    for i in range(8):
        name = f"{lists['classes'][i // 4].split()[1]}/Bird_{i}.jpg"
        draw_picture(base / "images" / name, i)
        lists["images"].append(f"{i + 1} {name}")
        lists["image_class_labels"].append(f"{i + 1} {i // 4 + 1}")
        lists["train_test_split"].append(f"{i + 1} {i % 2}")
        lists["bounding_boxes"].append(f"{i + 1} 2.0 3.0 20.0 15.0")
    for name, lines in lists.items():
        (base / f"{name}.txt").write_text("\n".join(lines) + "\n")


def write_tiny_cars(base):
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    for part, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = np.zeros(4, dtype=[(f, object) for f in fields])
        for i in range(4):
            draw_picture(base / f"cars_{part}" / f"{i + 1:05d}.jpg", i)
            rows[i] = (1, 2, 30, 25, i % 2 + 1, f"{i + 1:05d}.jpg")
        (base / "devkit").mkdir(exist_ok=True)
        scipy.io.savemat(base / file, {"annotations": rows})
    scipy.io.savemat(base / "devkit/cars_meta.mat", {"class_names": np.array(["A", "B"], dtype=object)})


def write_tiny_imagenet(base, wnids=("n01440764", "n01443537")):
    lines = ["ImageId,PredictionString"]
    for label, wnid in enumerate(wnids):
        for i in range(4):
            draw_picture(base / "train" / wnid / f"{wnid}_{i}.JPEG", 10 * label + i)
        for i in range(2):
            stem = f"ILSVRC2012_val_{2 * i + label + 1:08d}"
            draw_picture(base / "val" / f"{stem}.JPEG", 20 + 2 * i + label)
            second = f" {wnid} 3 4 35 28" if i else ""
            lines.append(f"{stem},{wnid} 2 3 20 25{second} ")
    (base / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")


def write_tiny_openimages(base, classes=("01226z", "0by6g")):
    for split in ("train", "test"):
        for label, name in enumerate(classes):
            for i in range(3):
                folder, stem = base / split / name, f"{label}{i}ab"
                draw_picture(folder / f"{stem}.jpg", 10 * label + i)
                if split == "train":
                    continue
                for suffix, (x, y) in {f"m{name}_1a2b3c4d": (5, 4), "ignore": (25, 18)}.items():
                    mask = np.zeros((30, 40), np.uint8)
                    mask[y : y + 9, x : x + 12] = 255
                    Image.fromarray(mask).save(folder / f"{stem}_{suffix}.png")


@pytest.fixture
def tiny_data(tmp_path):
    """Folder of the paper's four data sets in their original layouts, a few images each."""
    root = tmp_path / "data"
    write_tiny_cub(root / "CUB_200_2011")
    write_tiny_cars(root / "stanford_cars")
    write_tiny_imagenet(root / "imagenet")
    write_tiny_openimages(root / "OpenImages")
    return root


@pytest.fixture
def request_of(tmp_path, tiny_data):
    """The maker of requests: table 1 on the miniature data, slim networks, one epoch; fields to change."""
    (tmp_path / "head.yaml").write_text(RECIPE)
    (tmp_path / "net.yaml").write_text(RECIPE + "init: random\n")

    def make(**fields):
        return Reproduction(
            **{
                "table": "table1",
                "out": tmp_path / "out",
                "data_root": tiny_data,
                "substitutes": SLIM if fields.get("table") != "table2" else SLIM_5,
                "backbone_recipe": str(tmp_path / "net.yaml"),
                "head_recipe": str(tmp_path / "head.yaml"),
                "device": "cpu",
                "limit": 4,
                "workers": 1,
                "resamples": 20,
                **fields,
            }
        )

    return make
