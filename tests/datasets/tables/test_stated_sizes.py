"""Sizes that a tool states beside its boxes and that are not the files': the boxes or the user say which holds."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")
FILE = (200, 150)
KINDS = ("csv", "json", "xml")


@pytest.fixture
def own(tmp_path):
    (tmp_path / "set").mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", FILE).save(tmp_path / "set" / name)
    return tmp_path / "set"


def write(own, kind, size, box):
    """Both images with one box, and a stated size of which the first image's may differ."""
    x0, y0, x1, y1 = box
    if kind == "csv":
        lines = [f"{n}.jpg,x,{x0},{y0},{x1},{y1},{size[0]},{size[1]}\n" for n in "ab"]
        (own / "c.csv").write_text("image,label,x0,y0,x1,y1,width,height\n" + "".join(lines))
        return "c.csv"
    if kind == "json":
        images = [{"id": i, "file_name": f"{n}.jpg", "width": size[0], "height": size[1]} for i, n in enumerate("ab")]
        ring = [[x0, y0, x1, y0, x1, y1, x0, y1]]
        boxes = [
            {"image_id": i, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": ring} for i in (0, 1)
        ]
        categories = [{"id": 1, "name": "x"}]
        (own / "c.json").write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
        return "c.json"
    (own / "xml").mkdir(exist_ok=True)
    corners = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
    text = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    text += f"<object><name>x</name><bndbox>{corners}</bndbox></object>"
    for n in "ab":
        (own / "xml" / f"{n}.xml").write_text(f"<annotation>{text}</annotation>")
    return "xml"


def boxes_at_100(table):
    (batch,) = load_batches(table, range(len(table)), 100, len(table), 0)
    return [b.tolist() for b in batch.gt_boxes]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(400, 300), (202, 150), (100, 75), (500, 333)])
def test_boxes_that_fit_both_pictures_are_refused_until_one_is_chosen(own, kind, size):
    named = write(own, kind, size, (20, 30, 80, 60))
    with pytest.raises(DatasetError, match=r"2 of 2 files \(100%\) have another size than the annotations state, and"):
        open_table("folder", own, annotations=named)
    stated = open_table("folder", own, annotations=named, sizes="stated")
    scale = np.array([100 / size[0], 100 / size[1]] * 2)
    assert boxes_at_100(stated)[0] == [(np.array([20, 30, 80, 60]) * scale).astype(int).tolist()]
    files = open_table("folder", own, annotations=named, sizes="files")
    assert boxes_at_100(files)[0] == [[10, 20, 40, 40]]


@pytest.mark.parametrize("kind", KINDS)
def test_boxes_that_only_the_stated_picture_holds_are_of_it(own, kind):
    table = open_table("folder", own, annotations=write(own, kind, (400, 300), (40, 30, 360, 270)))
    assert boxes_at_100(table) == [[[10, 10, 90, 90]]] * 2
    assert any("2 of 2 files that were compared have another size than is stated" in n for n in table.notes)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pixel_is_no_contradiction(own, kind):
    assert len(open_table("folder", own, annotations=write(own, kind, (201, 149), (20, 30, 80, 60)))) == 2


def test_one_image_among_many_is_found(own):
    """All headers are compared, not a sample of them."""
    names = [f"{i}.jpg" for i in range(700)]
    for name in names:
        Image.new("L", (8, 8)).save(own / name)
    lines = [f"{n},x,1,1,4,4,8,8\n" for n in names]
    lines[333] = "333.jpg,x,1,1,4,4,16,16\n"
    (own / "c.csv").write_text("image,label,x0,y0,x1,y1,width,height\n" + "".join(lines))
    with pytest.raises(DatasetError, match=r"1 of 700 files \(0%\) have another size.*: 333\.jpg 8×8, stated 16×16"):
        open_table("folder", own, annotations="c.csv")


def test_stated_needs_stated_sizes(own):
    (own / "c.csv").write_text("image,label,x0,y0,x1,y1\na.jpg,x,1,2,30,40\n")
    with pytest.raises(DatasetError, match="sizes=stated, but the annotations state no sizes"):
        open_table("folder", own, annotations="c.csv", sizes="stated")


def masks(table):
    return [np.asarray(Image.open(io.BytesIO(row["masks"][0]["bytes"]))) for row in table.rows]


@pytest.mark.parametrize(("option", "scale"), [("files", (200, 150)), ("stated", (400, 300)), ("given", (800, 600))])
def test_masks_are_drawn_on_the_picture_of_the_boxes(own, tmp_path, option, scale):
    """They were drawn at the stated or the file's size, whatever the option said: scored at another place."""
    write(own, "json", (400, 300), (20, 30, 80, 60))
    given = tmp_path / "sizes.txt"
    given.write_text("a.jpg,800,600\nb.jpg,800,600\n")
    table = open_table("folder", own, annotations="c.json", sizes=str(given) if option == "given" else option)
    for mask in masks(table):
        assert mask.shape == scale[::-1]
        ys, xs = np.nonzero(mask)
        assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == [20, 30, 80, 60]
    assert boxes_at_100(table)[0] == [[20 * 100 // scale[0], 30 * 100 // scale[1], 8000 // scale[0], 6000 // scale[1]]]


def test_one_fault_is_told_once(own):
    """Boxes that are read in a wrong order were also said to be of pictures of another size, with another remedy."""
    (own / "c.csv").write_text("image,label,x0,y0,x1,y1\na.jpg,x,80,60,20,30\nb.jpg,x,20,30,80,60\n")
    with pytest.raises(DatasetError, match="boxes=corners") as error:
        open_table("folder", own, annotations="c.csv")
    assert len(error.value.findings) == 1
