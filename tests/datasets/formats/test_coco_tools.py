"""COCO files as merging, exporting and converting tools leave them, and JSON of other tools."""

from __future__ import annotations

import copy
import json

import pytest
from PIL import Image

from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")
RING = [[2, 3, 30, 3, 30, 20, 2, 20]]
CONTENT = {
    "images": [{"id": i, "file_name": f"{n}.jpg", "width": 40, "height": 30} for i, n in ((1, "a"), (2, "b"))],
    "annotations": [
        {"id": i, "image_id": i, "category_id": i, "bbox": [2, 3, 28, 17], "segmentation": RING} for i in (1, 2)
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
}


@pytest.fixture
def content():
    return copy.deepcopy(CONTENT)


def opened(folder, content, names=("a.jpg", "b.jpg"), **options):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)
    (folder / "c.json").write_text(json.dumps(content))
    return open_table("folder", folder, annotations="c.json", **options)


@pytest.mark.parametrize("key", ["images", "categories"])
def test_entries_that_are_listed_twice_alike_are_one(tmp_path, content, key):
    content[key].append({**content[key][0], "license": 3})
    table = opened(tmp_path, content)
    assert (len(table), table.class_names) == (2, ("cat", "dog"))
    assert any(f"1 {key} are listed more than once, alike" in n for n in table.notes)
    content[key][-1] = {**content[key][0], "file_name": "b.jpg", "name": "horse"}
    with pytest.raises(DatasetError, match="ids occur more than once: id 1\n    → files that were merged restart"):
        opened(tmp_path, content)


def test_roboflow_lists_the_project_as_a_category(tmp_path, content):
    content["categories"].insert(0, {"id": 0, "name": "cat", "supercategory": "none"})
    table = opened(tmp_path, content)
    assert (table.class_names, table.rows["label"][:]) == (("cat", "dog"), [0, 1])
    assert any("have the name of another, and are left out: id 0" in n for n in table.notes)
    content["annotations"][0]["category_id"] = 0
    content["annotations"][1]["category_id"] = 1
    with pytest.raises(DatasetError, match="category names are not distinct: cat is that of ids 0, 1; rename"):
        opened(tmp_path, content)


@pytest.mark.parametrize("broken", [RING[0], [[[2, 3], [30, 3], [30, 20]]], [[2, 3, 30, 20]], {"counts": [5, 6]}])
def test_segmentations_that_cannot_be_drawn_are_told(tmp_path, content, broken):
    for annotation in content["annotations"]:
        annotation["segmentation"] = broken
    table = opened(tmp_path, content)
    assert (table.has_masks, table.has_boxes) == (False, True)
    assert any("2 of 2 segmentations are neither polygons" in w for w in table.warnings)


def test_a_file_of_crowds_only_says_so(tmp_path, content):
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1
    with pytest.raises(DatasetError, match=r"none of 2 images has a box or mask of its own \(2 have crowds only\)"):
        opened(tmp_path, content)


@pytest.mark.parametrize(
    ("written", "file"),
    [
        ("train2017/a.jpg", "a.jpg"),
        ("data\\imgs\\a.jpg", "imgs/a.jpg"),
        ("../up/imgs/a.jpg", "imgs/a.jpg"),
        ("..\\..\\label-studio\\media\\upload\\1\\a.jpg", "a.jpg"),
        ("/data/local-files/?d=imgs/a.jpg", "imgs/a.jpg"),
    ],
)
def test_folders_of_another_place_before_a_name(tmp_path, content, written, file):
    content["images"][0]["file_name"] = written
    table = opened(tmp_path, content, names=(file, "b.jpg"))
    assert table.rows["image_id"][0] == file
    # Pictures of one name may lie in several folders.
    assert any("found without the folders" in w for w in table.warnings) == ("?d=" not in written)


def test_two_names_of_one_file_are_not_guessed(tmp_path, content):
    content["images"][0]["file_name"], content["images"][1]["file_name"] = "cat/1.jpg", "dog/1.jpg"
    with pytest.raises(DatasetError, match="cat/1.jpg and dog/1.jpg are both"):
        opened(tmp_path, content, names=("1.jpg",))


def test_missing_names_are_told_once(tmp_path, content):
    for image in content["images"]:
        image["coco_url"] = "http://x/" + image.pop("file_name")
    with pytest.raises(DatasetError, match="2 images have no `file_name`: id 1, 2") as error:
        opened(tmp_path, content)
    assert len(error.value.findings) == 1


OTHERS = {
    "labelme": {"version": "5", "shapes": [], "imagePath": "a.jpg"},
    "VIA": {"a.jpg9": {"filename": "a.jpg", "regions": []}},
    "Label Studio": [{"id": 1, "annotations": [], "data": {"image": "a.jpg"}}],
    "CreateML": [{"image": "a.jpg", "annotations": []}],
    "Supervisely": {"size": {"height": 3, "width": 4}, "objects": []},
    "FiftyOne": {"samples": []},
    "form for results": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}],
    "a list of annotations alone": CONTENT["annotations"],
}


@pytest.mark.parametrize("tool", OTHERS)
def test_json_of_other_tools_is_named(tmp_path, tool):
    with pytest.raises(DatasetError, match=rf"c\.json: .*{tool}.*, not COCO JSON: export COCO JSON, PASCAL VOC, YOLO"):
        opened(tmp_path, OTHERS[tool])
