"""Stanford Cars: torchvision's layout, Kaggle's folders, the real devkit."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import StanfordCars

from cambench.datasets.findings import Findings
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError
from cambench.datasets.wsol_metadata import read_metadata

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_equal_torchvisions(cars_replica, split):
    peer = StanfordCars(str(cars_replica.parent), split=split)
    table = open_table("stanford_cars", cars_replica, split)
    assert [(r["image"]["path"], r["label"]) for r in table.rows] == [(p, y) for p, y in peer._samples]
    assert list(table.class_names) == list(peer.classes)


def test_boxes_stay_as_published_and_the_ones_outside_are_counted(cars_replica):
    table = open_table("stanford_cars", cars_replica.parent)
    assert table.rows["boxes"][5] == [[6.0, 2.0, 41.0, 25.0]]
    assert table.rows["width"] == [40] * 6
    assert any("1 of 6 boxes reach outside the image" in n for n in table.notes)


def test_kaggles_doubled_folders(cars_replica):
    for part in ("train", "test"):
        shutil.move(cars_replica / f"cars_{part}", cars_replica / "tmp")
        shutil.move(cars_replica / "tmp", cars_replica / f"cars_{part}" / f"cars_{part}")
    assert len(open_table("stanford_cars", cars_replica)) == 6


def test_kaggle_class_folders_with_csv(tmp_path, jpeg):
    names = ["Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012", *(f"Car {i}" for i in range(2, 196))]
    (tmp_path / "names.csv").write_text("\n".join(names) + "\n")
    for part in ("train", "test"):
        rows = []
        for i in range(4):
            folder = names[i % 2].replace("/", "")
            jpeg(tmp_path / "car_data" / "car_data" / part / folder / f"{i:05d}.jpg", seed=i)
            rows.append(f"{i:05d}.jpg,{1 + i},2,30,25,{i % 2 + 1}")
        (tmp_path / f"anno_{part}.csv").write_text("\n".join(rows) + "\n")
    table = open_table("stanford_cars", tmp_path)
    assert (table.rows["label"], table.class_names) == ([0, 1, 0, 1], tuple(names))
    assert table.rows[2]["boxes"] == [[3.0, 2.0, 30.0, 25.0]]
    assert len(open_table("stanford_cars", tmp_path, "val", val_fraction=0.5)) == 2
    (tmp_path / "names.csv").write_text("\n".join(names[:2]) + "\n")
    assert any("names.csv: 2 class names, published are 196" in n for n in open_table("stanford_cars", tmp_path).notes)
    (tmp_path / "names.csv").write_text("\n".join(names) + "\n")
    with (tmp_path / "anno_test.csv").open("a") as file:
        file.write("00009.jpg,1,2")
    with pytest.raises(DatasetError, match=r"anno_test\.csv:5: '00009\.jpg,1,2' is not"):
        open_table("stanford_cars", tmp_path)


def test_what_is_missing_is_named(cars_replica):
    (cars_replica / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(DatasetError, match=r"cars_test_annos_withlabels\.mat .*has no labels"):
        open_table("stanford_cars", cars_replica)
    (cars_replica / "devkit" / "cars_meta.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(DatasetError, match=r"cars_meta\.mat: not a readable MATLAB file"):
        open_table("stanford_cars", cars_replica, "train")
    with pytest.raises(DatasetError, match="inside the data set"):
        open_table("stanford_cars", cars_replica / "cars_train")


def test_annotations_without_labels(cars_replica):
    rows = np.zeros(2, dtype=[(f, object) for f in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "fname")])
    scipy.io.savemat(cars_replica / "cars_test_annos_withlabels.mat", {"annotations": rows})
    with pytest.raises(DatasetError, match="no field class"):
        open_table("stanford_cars", cars_replica)


def test_real_devkit(shared_data):
    root = shared_data / "stanford_cars"
    with pytest.raises(DatasetError, match="8,094 of 8,144 listed images are not on disk"):
        open_table("stanford_cars", root, "train")
    table = open_table("stanford_cars", root, "train", missing="skip")
    assert (len(table), table.num_classes) == (50, 196)
    meta = read_metadata(shared_data / "wsol_metadata" / "CARS" / "train", Findings())
    assert meta.boxes is not None
    row_of = {image_id: i for i, image_id in enumerate(meta.ids)}
    for row in table.rows:
        i = row_of[row["image_id"]]
        assert row["label"] == meta.labels[i]
        assert row["boxes"] == [meta.boxes[i].tolist()]
