"""COCO files as other tools write them, and entries that cannot be read."""

from __future__ import annotations

import json

import pytest

from cambench.datasets.findings import OptionError
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError, MissingSplitError

pytestmark = pytest.mark.usefixtures("own_cache")


def write_entry(path, **changes):
    """A COCO file of one image; ``changes``: a field of the image, annotation or category -> value, or None: absent."""
    image = {"id": 1, "file_name": "a.jpg", "width": 40, "height": 30}
    annotation = {"id": 5, "image_id": 1, "category_id": 7, "bbox": [1, 2, 10, 10], "iscrowd": None}
    for entry in (image, annotation):
        entry.update({k: v for k, v in changes.items() if k in entry})
    category = {"id": 7, "name": changes.get("name", "cat")}
    content = {"images": [image], "annotations": [annotation], "categories": [category]}
    for entry in (image, annotation, category):
        for key in [k for k, v in entry.items() if v is None]:
            del entry[key]
    path.write_text(json.dumps(content))


def test_coco_as_other_tools_write_it(tmp_path, jpeg):
    """No `iscrowd`, no `area`."""
    jpeg(tmp_path / "a.jpg")
    write_entry(tmp_path / "c.json")
    (row,) = open_table("folder", tmp_path, annotations="c.json").rows
    assert row["boxes"] == [[1.0, 2.0, 11.0, 12.0]]


@pytest.mark.parametrize("crowd", ["0", "false", "0.0", ""])
def test_coco_with_its_numbers_as_text(tmp_path, jpeg, crowd):
    """A crowd mark of "0" made the image one of crowds only."""
    jpeg(tmp_path / "a.jpg")
    text = {"width": "40", "height": "30.0", "image_id": "1", "category_id": "7", "bbox": ["1", "2", "10", 10]}
    write_entry(tmp_path / "c.json", **text, iscrowd=crowd)
    table = open_table("folder", tmp_path, annotations="c.json")
    (row,) = table.rows
    assert (row["boxes"], row["width"], row["height"]) == ([[1.0, 2.0, 11.0, 12.0]], 40, 30)
    assert table.class_names == ("cat",)


def test_coco_in_utf_16(tmp_path, jpeg):
    jpeg(tmp_path / "a.jpg")
    write_entry(tmp_path / "c.json")
    (tmp_path / "c.json").write_bytes((tmp_path / "c.json").read_text().encode("utf-16"))
    assert open_table("folder", tmp_path, annotations="c.json").rows["boxes"][:] == [[[1.0, 2.0, 11.0, 12.0]]]


def test_coco_with_nulls_for_what_is_not_known(tmp_path, jpeg):
    jpeg(tmp_path / "a.jpg")
    write_entry(tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text())
    content["images"][0].update(width=None, height=None)
    content["annotations"][0].update(area=None, segmentation=None)
    (tmp_path / "c.json").write_text(json.dumps(content))
    (row,) = open_table("folder", tmp_path, annotations="c.json").rows
    assert (row["boxes"], row["width"]) == ([[1.0, 2.0, 11.0, 12.0]], 40)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"bbox": None}, "1 annotations have no `bbox` of four numbers: id 5"),
        ({"bbox": [1, 2, 3]}, "1 annotations have no `bbox` of four numbers: id 5"),
        ({"bbox": [1, float("nan"), 3, 4]}, "1 annotations have no `bbox` of four numbers: id 5"),
        ({"file_name": None}, "1 images have no `file_name`: id 1"),
        ({"image_id": 9}, "1 annotations are of an image that is not listed: id 5"),
        ({"width": "40.5"}, "1 images have a `width` or `height` that is not a whole number: id 1"),
        ({"width": "wide"}, "1 images have a `width` or `height` that is not a whole number: id 1"),
        ({"bbox": ["1", "2", "x", "4"]}, "1 annotations have no `bbox` of four numbers: id 5"),
        ({"iscrowd": "maybe"}, "1 annotations have an `iscrowd` that is neither 0 nor 1: id 5"),
        ({"image_id": "001"}, "1 annotations are of an image that is not listed: id 5"),
        ({"name": None}, "1 categories have no `name`: id 7"),
        ({"name": 5}, "1 categories have no `name`: id 7"),
        ({"category_id": 9}, "1 annotations are of a category that is not listed: id 5"),
    ],
)
def test_coco_entries_that_cannot_be_read_are_named(tmp_path, jpeg, changes, words):
    jpeg(tmp_path / "a.jpg")
    write_entry(tmp_path / "c.json", **changes)
    with pytest.raises(DatasetError, match=words):
        open_table("folder", tmp_path, annotations="c.json")


def test_coco_with_a_file_a_split(tmp_path, jpeg):
    for split, x in (("train", 1), ("test", 2)):
        jpeg(tmp_path / f"{split}2017" / "a.jpg")
        write_entry(tmp_path / f"instances_{split}.json", bbox=[x, 2, 10, 10])
    options = {"annotations": "instances_{split}.json", "images": "{split}2017"}
    for split, x in (("train", 1), ("test", 2)):
        (row,) = open_table("folder", tmp_path, split, **options).rows
        assert (row["boxes"], row["image"]["path"]) == (
            [[x, 2.0, x + 10.0, 12.0]],
            str(tmp_path / f"{split}2017" / "a.jpg"),
        )
    with pytest.raises(MissingSplitError, match=r"no such file instances_val\.json"):
        open_table("folder", tmp_path, "val", **options)
    with pytest.raises(MissingSplitError, match="a COCO file has no splits"):
        open_table("folder", tmp_path, "train", annotations="instances_test.json")
    (tmp_path / "b_test.csv").write_text("image,label\n")
    with pytest.raises(OptionError, match="column `split`"):
        open_table("folder", tmp_path, annotations="b_{split}.csv")
