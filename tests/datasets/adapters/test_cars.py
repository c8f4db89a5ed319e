"""Stanford Cars: torchvision's layout, Kaggle's folders, the real devkit."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import StanfordCars

from cambench.datasets.findings import Findings
from cambench.datasets.formats.wsol.wsol_metadata import read_metadata
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

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


@pytest.fixture
def class_folders(tmp_path, jpeg):
    """A copy without annotations: names.csv is not alphabetical, and one folder is spelt in another way."""
    names = ["Zagato 2012", "Ram C/V Cargo Van Minivan 2012", *(f"Car {i}" for i in range(2, 196))]
    for part in ("train", "test"):
        for i in range(4):
            folder = ("Zagato 2012", "Ram C-V Cargo Van Minivan 2012")[i % 2]
            jpeg(tmp_path / "car_data" / part / folder / f"{i:05d}.jpg", seed=i)
    (tmp_path / "names.csv").write_text("\n".join(names) + "\n")
    return tmp_path


def test_kaggle_class_folders_without_csv(class_folders):
    table = open_table("stanford_cars", class_folders)
    assert (table.rows["image_id"][:], table.rows["label"][:]) == ([f"{i:05d}.jpg" for i in range(4)], [0, 1, 0, 1])
    assert (table.has_boxes, table.class_names[1]) == (False, "Ram C/V Cargo Van Minivan 2012")
    assert any("no anno_test.csv: no boxes" in n for n in table.notes)
    (class_folders / "car_data" / "test" / "Tricycle").mkdir()
    with pytest.raises(DatasetError, match=r"1 folders are no classes of names\.csv: Tricycle"):
        open_table("stanford_cars", class_folders, refresh=True)
    (class_folders / "names.csv").unlink()
    with pytest.raises(DatasetError, match=r"neither anno_test\.csv .*nor names\.csv or cars_meta\.mat"):
        open_table("stanford_cars", class_folders)


def test_one_annotation_file_of_both_parts(tmp_path, jpeg):
    fields = ["relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test"]
    rows = np.zeros(9, dtype=[(f, object) for f in fields])
    for i in range(9):
        jpeg(tmp_path / "car_ims" / f"{i + 1:06d}.jpg", seed=i)
        rows[i] = (f"car_ims/{i + 1:06d}.jpg", 1 + i, 2, 30, 25, i % 3 + 1, int(i % 3 == 2))
    names = np.array([f"Car {i}" for i in range(196)], dtype=object)
    scipy.io.savemat(tmp_path / "cars_annos.mat", {"annotations": rows, "class_names": names})
    test, train = (open_table("stanford_cars", tmp_path, s) for s in ("test", "train"))
    assert (test.rows["image_id"][:], test.rows["label"][:]) == (["000003.jpg", "000006.jpg", "000009.jpg"], [2] * 3)
    assert test.rows["boxes"][:] == [[[3.0 + 3 * i, 2.0, 30.0, 25.0]] for i in range(3)]
    assert (len(train), train.facts["variant"]) == (6, "car_ims, cars_annos.mat")
    assert not any("have no line here" in n for n in (*test.notes, *train.notes))
    shutil.rmtree(tmp_path / "car_ims")
    with pytest.raises(DatasetError, match=r"cars_annos\.mat is there, but it names the files of car_ims/"):
        open_table("stanford_cars", tmp_path)


@pytest.mark.parametrize(("field", "value", "message"), [
    ("class", np.nan, r":4: `class` is 'nan', not a whole number"),
    ("class", 1.5, r":4: `class` is '1\.5', not a whole number"),
    ("class", "van", r":4: `class` is 'van', not a whole number"),
    ("class", np.zeros((0, 0)), r":4: `class` is '\[\]', not a whole number"),
    ("bbox_x1", np.nan, r":4: `bbox_x1` is 'nan', not a number"),
])  # fmt: skip
def test_values_that_are_no_numbers(cars_replica, field, value, message):
    path = cars_replica / "cars_test_annos_withlabels.mat"
    rows = scipy.io.loadmat(path, squeeze_me=True)["annotations"]
    rows[3][field] = value
    scipy.io.savemat(path, {"annotations": rows})
    with pytest.raises(DatasetError, match=message):
        open_table("stanford_cars", cars_replica)


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
