"""Folders of YOLO and VOC label files: the same boxes, as rows."""

import numpy as np
import pytest
from PIL import Image

from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

BOXES = {"a": [("cat", (10, 20, 50, 60))], "b": [("dog", (0, 0, 32, 24)), ("dog", (30, 10, 64, 48))]}
SIZE = (64, 80)
WORDS = ["dog", "cat"]


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "images").mkdir()
    for name in (*BOXES, "empty"):
        Image.new("RGB", SIZE, "grey").save(tmp_path / "images" / f"{name}.JPG", "JPEG")
    return tmp_path


def write_voc(root, width="64.0"):
    (root / "xml").mkdir()
    for name, boxes in BOXES.items():
        objects = "".join(
            f"<object><name>{w}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            "</bndbox></object>"
            for w, (x0, y0, x1, y1) in boxes
        )
        size = f"<size><width>{width}</width><height>80</height></size>"
        (root / "xml" / f"{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>", encoding="utf-8")


def write_yolo(root, *, polygon=False):
    (root / "labels").mkdir()
    for name, boxes in BOXES.items():
        lines = []
        for word, (x0, y0, x1, y1) in boxes:
            u0, v0, u1, v1 = x0 / SIZE[0], y0 / SIZE[1], x1 / SIZE[0], y1 / SIZE[1]
            numbers = (u0, v0, u1, v0, u1, v1, u0, v1) if polygon else ((u0 + u1) / 2, (v0 + v1) / 2, u1 - u0, v1 - v0)
            lines.append(" ".join([str(WORDS.index(word)), *map(repr, numbers)]))
        (root / "labels" / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "labels" / "empty.txt").write_text("", encoding="utf-8")


def check(table, names):
    assert list(table.class_names) == names
    rows = [table.rows[i] for i in range(len(table))]
    found = {row["image_id"]: row for row in rows}
    assert set(found) == {"images/a.JPG", "images/b.JPG"}, "an image without a box is left out"
    for name, boxes in BOXES.items():
        row = found[f"images/{name}.JPG"]
        assert names[row["label"]] == boxes[0][0]
        assert np.allclose(row["boxes"], [box for _, box in boxes], atol=1e-4)


def test_voc(photos):
    write_voc(photos)
    table = open_table("folder", photos, "test", annotations="xml", images="images")
    check(table, ["cat", "dog"])
    assert any("1 of 3 images have no box" in warning for warning in table.warnings)


@pytest.mark.parametrize("polygon", [False, True])
@pytest.mark.parametrize("listed", ["classes.txt", "data.yaml"])
def test_yolo(photos, polygon, listed):
    write_yolo(photos, polygon=polygon)
    text = "names:\n  0: dog\n  1: cat\n" if listed == "data.yaml" else "dog\ncat\n"
    (photos / listed).write_text(text, encoding="utf-8")
    check(open_table("folder", photos, "test", annotations="labels", images="images"), WORDS)


@pytest.mark.parametrize(
    ("declared", "written"), [("GB2312", "gb2312"), ("gbk", "gbk"), ("Shift_JIS", "cp932"), ("windows-1251", "cp1251")]
)
def test_voc_in_the_encoding_that_it_declares(photos, declared, written):
    write_voc(photos)
    word = {"cp932": "犬", "cp1251": "кот"}.get(written, "狗")
    file = photos / "xml" / "a.xml"
    text = file.read_text(encoding="utf-8").replace("cat", word)
    file.write_bytes(f'<?xml version="1.0" encoding="{declared}"?>\n{text}'.encode(written))
    assert word in open_table("folder", photos, "test", annotations="xml", images="images").class_names
    file.write_bytes(text.encode(written))
    with pytest.raises(DatasetError, match=r"a.xml \(no UTF-8, which without a declaration it is .*save it as UTF-8"):
        open_table("folder", photos, "test", annotations="xml", images="images")
    file.write_bytes(f'<?xml version="1.0" encoding="klingon"?>\n{text}'.encode(written))
    with pytest.raises(DatasetError, match="declares the encoding klingon, which is not known"):
        open_table("folder", photos, "test", annotations="xml", images="images")


def test_yolo_in_pixels_names_the_option(photos):
    write_yolo(photos)
    (photos / "labels" / "a.txt").write_text("1 30 40 40 40\n")
    (photos / "labels" / "b.txt").write_text("0 16 12 32 24\n0 47 29 34 38\n")
    with pytest.raises(DatasetError, match="pass --option boxes=pixels if all are in pixels"):
        open_table("folder", photos, "test", annotations="labels", images="images")
    (photos / "classes.txt").write_text("dog\ncat\n")
    check(open_table("folder", photos, "test", annotations="labels", images="images", boxes="pixels"), WORDS)


def test_yolo_predictions_are_told(photos):
    write_yolo(photos)
    file = photos / "labels" / "a.txt"
    file.write_text(file.read_text().strip() + " 0.73\n")
    warnings = open_table("folder", photos, "test", annotations="labels", images="images").warnings
    assert any("the sixth number of the lines holds scores (0.73 to 0.73)" in warning for warning in warnings)


def test_yolo_without_names_has_indices(photos):
    write_yolo(photos)
    check_names = open_table("folder", photos, "test", annotations="labels", images="images").class_names
    assert list(check_names) == ["0", "1"]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("labels/a.txt", "0 0.5 0.5\n", r"a\.txt.*1.*no 'class x y w h'"),
        ("labels/a.txt", "cat 0.5 0.5 0.1 0.1\n", "no 'class x y w h'"),
        ("labels/a.txt", "7 0.5 0.5 0.1 0.1\n", "class 7 has no name: 2 names"),
        ("labels/c.txt", "0 0.5 0.5 0.1 0.1\n", r"1 label files have no image of their name"),
        ("labels/a.xml", "<annotation/>", "files of two kinds"),
        ("data.yaml", "names: [[[", "cannot be read as a list of class names"),
    ],
)
def test_damage_is_named(photos, file, text, said):
    write_yolo(photos)
    (photos / "data.yaml").write_text("names: [dog, cat]\n", encoding="utf-8")
    (photos / file).write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=said):
        open_table("folder", photos, "test", annotations="labels", images="images")


def test_pixels_in_yolo_files_are_refused_with_the_remedy(photos):
    write_yolo(photos)
    (photos / "labels" / "a.txt").write_text("0 30 40 40 40\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="boxes="):
        open_table("folder", photos, "test", annotations="labels", images="images")


def test_a_damaged_or_foreign_xml_is_named(photos):
    write_voc(photos)
    (photos / "xml" / "a.xml").write_text("<annotation><object>", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"1 XML files cannot be read: a\.xml"):
        open_table("folder", photos, "test", annotations="xml", images="images")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("names:\n  0: dog\n  1: cat\n  1: cow\n", "line 4: 1 is given twice"),
        ("names: [dog, cat]\nnames: [cat, dog]\n", "line 2: names is given twice"),
        ("names: [yes, no]\n", "put quotes around yes, no, dates and fractions"),
        ("nc: 3\nnames: [dog, cat]\n", "nc: 3, and names: 2 names"),
    ],
)
def test_class_names_that_contradict_themselves_are_refused(photos, text, said):
    write_yolo(photos)
    (photos / "data.yaml").write_text(text)
    with pytest.raises(DatasetError, match=said):
        open_table("folder", photos, "test", annotations="labels", images="images")


KEYPOINTS = "0.1 0.2 {0} 0.3 0.4 {0}"


@pytest.mark.parametrize("mark", ["2", "1.0"])
def test_key_points_behind_a_box_are_no_polygon(photos, mark):
    """With an even count of numbers they were the corners of a polygon."""
    (photos / "labels").mkdir()
    (photos / "labels" / "a.txt").write_text("0 0.5 0.5 0.5 0.25 " + KEYPOINTS.format(mark) + "\n")
    # A mark of 2 is no fraction; else data.yaml must say how many numbers follow.
    (photos / "data.yaml").write_text("names: [x]\n" + ("" if mark == "2" else "kpt_shape: [2, 3]\n"))
    table = open_table("folder", photos, annotations="labels", images="images")
    assert np.allclose(table.rows["boxes"][0], [[16, 30, 48, 50]])


def test_a_polygon_a_little_beyond_its_picture_ends_with_it(photos):
    (photos / "labels").mkdir()
    (photos / "labels" / "a.txt").write_text("0 -0.005 0.25 0.5 0.25 0.5 1.008\n")
    table = open_table("folder", photos, annotations="labels", images="images")
    assert np.allclose(table.rows["boxes"][0], [[0, 20, 32, 80]])


def test_a_confidence_before_the_box_is_refused(photos):
    """class, confidence, x, y, w, h: read as a box it lay beside the object, with a warning only."""
    (photos / "labels").mkdir()
    for name in "ab":
        (photos / "labels" / f"{name}.txt").write_text("0 0.95 0.5 0.5 0.4 0.4\n")
    with pytest.raises(DatasetError, match=r"of 2, 2 reach beyond their picture: 0\.95,0\.5,0\.5,0\.4"):
        open_table("folder", photos, annotations="labels", images="images")
    kept = open_table("folder", photos, annotations="labels", images="images", boxes="fraction+cxcywh")
    assert len(kept) == 2


def test_xml_of_another_kind_is_no_picture_without_objects(photos):
    write_voc(photos)
    text = (photos / "xml" / "a.xml").read_text()
    for other in (text.replace("annotation>", "annotations>"), text.replace("<annotation>", '<annotation xmlns="u">')):
        (photos / "xml" / "a.xml").write_text(other)
        with pytest.raises(DatasetError, match="its outermost element is .*, not annotation: no PASCAL VOC file"):
            open_table("folder", photos, annotations="xml", images="images")


def test_one_side_alone_is_no_size(photos):
    """A row had a height and no width."""
    write_voc(photos, width="")
    table = open_table("folder", photos, annotations="xml", images="images")
    assert (set(table.rows["width"]), set(table.rows["height"])) == ({64}, {80})


def test_a_folder_of_labelmes_files_is_named(photos):
    (photos / "json").mkdir()
    (photos / "json" / "a.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"it has neither, but 1 \.json, a\.json: labelme's\? Export COCO JSON"):
        open_table("folder", photos, annotations="json", images="images")
