"""COCO files as they are: masks, crowds, bare images, several classes, repeated ids; masks against pycocotools."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as peer

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.formats.own.coco_masks import draw_mask, extent, is_segmentation
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")

CATEGORIES = [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}]


def write(folder, annotations, images=3, **changes):
    for i in range(images):
        Image.new("RGB", (40, 30), (i, i, i)).save(folder / f"{i}.jpg")
    listed = [{"id": i, "file_name": f"{i}.jpg", "width": 40, "height": 30} for i in range(images)]
    content = {"images": listed, "annotations": annotations, "categories": CATEGORIES, **changes}
    (folder / "c.json").write_text(json.dumps(content))


def entry(image, category=7, box=(1, 2, 10, 10), **more):
    return {"id": image + 1, "image_id": image, "category_id": category, "bbox": list(box), **more}


def opened(folder, **options):
    return open_table("folder", folder, annotations="c.json", **options)


def square(x, y, side):
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def packed(pixels):
    code = peer.encode(np.asfortranarray(pixels.astype(np.uint8)))
    return {"size": list(code["size"]), "counts": code["counts"].decode()}


def decoded(png):
    return np.asarray(Image.open(io.BytesIO(png))).astype(bool)


@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False), st.floats(0, 1))
def test_run_lengths_as_pycocotools_reads_them(height, width, random, share):
    pixels = np.array([[random.random() < share for _ in range(width)] for _ in range(height)])
    code = packed(pixels)
    assert np.array_equal(decoded(draw_mask([code], (width, height))), pixels)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[2], pixels.T.ravel(), [2]]).astype(int))))
    plain = {"size": [height, width], "counts": ([0] if pixels.T.ravel()[0] else []) + runs.tolist()}
    assert np.array_equal(decoded(draw_mask([plain], (width, height))), pixels)
    assert extent(code) == list(map(float, peer.toBbox(peer.frPyObjects(plain, height, width))))


def test_large_run_lengths_as_pycocotools_reads_them():
    pixels = np.zeros((700, 900), bool)
    pixels[100:650, 3:880] = True
    pixels[300:301, 50:60] = False
    assert np.array_equal(decoded(draw_mask([packed(pixels)], (900, 700))), pixels)


@pytest.mark.parametrize(
    "broken",
    [
        {"size": [3, 4], "counts": [5, 6]},
        {"size": [3, 4], "counts": [13, -1]},
        {"size": [3, 4], "counts": "\x00\x01"},
        {"size": [3, 4], "counts": "ooo"},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": "34", "counts": []},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [],
        "polygon",
        None,
    ],
)
def test_what_is_no_mask(broken):
    assert not is_segmentation(broken)


def test_polygons_and_run_lengths_are_masks(tmp_path):
    pixels = np.zeros((30, 40), bool)
    pixels[4:10, 6:12] = True
    write(
        tmp_path,
        [
            entry(0, segmentation=square(1, 2, 10)),
            entry(0, segmentation=square(20, 10, 8), id=9),
            entry(1, segmentation=packed(pixels)),
            entry(2, segmentation=square(1, 2, 10)),
            entry(2, segmentation=packed(~pixels), iscrowd=1, id=12),
        ],
    )
    table = opened(tmp_path)
    assert (table.has_masks, table.has_boxes) == (True, True)
    assert [len(m) for m in table.rows["masks"]] == [2, 1, 1]
    (batch,) = load_batches(table, range(3), 40, 3, 0)
    first = peer.decode(peer.merge(peer.frPyObjects(square(1, 2, 10) + square(20, 10, 8), 30, 40)))
    for found, right in ((batch.masks[0], first), (batch.masks[1], pixels)):
        rows = (np.arange(40) * 30) // 40
        assert np.array_equal(found.numpy(), np.asarray(right)[rows].astype(np.uint8))
    # The crowd counts neither as object nor as background, where it is no object.
    assert set(batch.masks[2].unique().tolist()) == {0, 1, 255}
    assert not opened(tmp_path, masks="off").has_masks


def test_masks_of_some_annotations_are_told_and_not_used(tmp_path):
    write(tmp_path, [entry(0, segmentation=square(1, 2, 10)), entry(1), entry(2)])
    table = opened(tmp_path)
    assert not table.has_masks
    assert any("2 of 3 annotations have no mask" in note for note in table.notes)


def test_an_annotation_without_a_box_has_that_of_its_mask(tmp_path):
    write(tmp_path, [entry(0, box=(), segmentation=square(1, 2, 10))], images=1)
    table = opened(tmp_path)
    assert table.rows["boxes"][:] == [[[1, 2, 11, 12]]]
    assert any("1 annotations have no `bbox`; their boxes are those of their masks" in n for n in table.notes)


def test_a_mask_of_another_picture_is_refused(tmp_path):
    write(tmp_path, [entry(0, segmentation=square(3000, 20, 10))], images=1)
    with pytest.raises(DatasetError, match=r"1 masks are not of a picture of the size that is stated: 0\.jpg"):
        opened(tmp_path)
    write(tmp_path, [entry(0, segmentation=packed(np.ones((5, 6))))], images=1)
    with pytest.raises(DatasetError, match="1 masks are not of a picture"):
        opened(tmp_path)


def test_images_without_annotation_and_with_crowds_only_are_left_out_and_counted(tmp_path):
    write(tmp_path, [entry(0), entry(1, iscrowd=1)])
    table = opened(tmp_path)
    assert table.rows["image_id"][:] == ["0.jpg"]
    told = "\n".join(table.warnings)
    assert "1 of 3 images have no box or mask and are left out: 2.jpg" in told
    assert "1 of 3 images have crowds only and are left out: 1.jpg" in told


def test_repeated_annotation_ids_do_no_harm(tmp_path):
    """pycocotools' index gives both images the last annotation of the id."""
    write(tmp_path, [entry(0, id=1), entry(1, 3, (5, 6, 7, 8), id=1)], images=2)
    table = opened(tmp_path)
    assert table.class_names == ("dog", "cat")
    assert table.rows["label"][:] == [1, 0]
    assert table.rows["boxes"][:] == [[[1, 2, 11, 12]], [[5, 6, 12, 14]]]
    assert any("1 annotation ids occur more than once" in n for n in table.notes)


def test_several_classes_an_image(tmp_path):
    large = entry(0, 3, (1, 2, 30, 20), segmentation=square(1, 2, 20), id=5)
    small = entry(0, 7, (3, 3, 4, 4), segmentation=square(3, 3, 4))
    write(tmp_path, [small, large, entry(1, segmentation=square(1, 2, 10))], images=2)
    with pytest.raises(DatasetError, match=r"1 of 2 images have several classes: 0\.jpg \(dog, cat\)"):
        opened(tmp_path)
    assert opened(tmp_path, label="only").rows["image_id"][:] == ["1.jpg"]
    largest = opened(tmp_path, label="largest")
    assert (largest.rows["label"][:], largest.rows["boxes"][0]) == ([0, 1], [[1, 2, 31, 22]])
    rows = opened(tmp_path, classes="rows")
    assert rows.rows["image_id"][:] == ["0.jpg#dog", "0.jpg#cat", "1.jpg#cat"]
    assert rows.rows["boxes"][:] == [[[1, 2, 31, 22]], [[3, 3, 7, 7]], [[1, 2, 11, 12]]]
    (batch,) = load_batches(rows, range(3), 40, 3, 0)
    assert batch.masks[0].sum() > batch.masks[1].sum() > 0


def test_areas_decide_what_is_largest(tmp_path):
    write(tmp_path, [entry(0, 3, (0, 0, 20, 20), area=30.5), entry(0, 7, (0, 0, 10, 10), area=90)], images=1)
    assert opened(tmp_path, label="largest").rows["label"][:] == [1]


@pytest.mark.parametrize(
    ("boxes", "words"),
    [
        ([(0.1, 0.2, 0.5, 0.5), (0.2, 0.2, 0.3, 0.4)], "boxes=fraction"),
        ([(8, 6, 38, 29), (4, 3, 39, 28)], "boxes=xyxy"),
    ],
)
def test_boxes_that_are_not_as_coco_has_them(tmp_path, boxes, words):
    write(tmp_path, [entry(i, box=b) for i, b in enumerate(boxes)], images=2)
    with pytest.raises(DatasetError, match=words):
        opened(tmp_path)


def test_sizes_as_tools_write_them(tmp_path):
    write(tmp_path, [entry(0)], images=1)
    content = json.loads((tmp_path / "c.json").read_text())
    content["images"][0].update(width=40.0, height=30.0)
    (tmp_path / "c.json").write_text("\ufeff" + json.dumps(content), encoding="utf-8")
    assert opened(tmp_path).rows["width"][:] == [40]


def test_plain_boxes_need_no_pycocotools(tmp_path):
    write(tmp_path, [entry(0)], images=1)
    code = (
        "import sys; sys.modules['pycocotools'] = None\n"
        "from cambench.datasets.open import open_table\n"
        f"print(open_table('folder', {str(tmp_path)!r}, annotations='c.json').rows['boxes'][:])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[[[1.0, 2.0, 11.0, 12.0]]]" in done.stdout


def test_lists_that_a_file_has_twice_are_refused(tmp_path):
    """Files joined as text: Python's reader keeps the last list."""
    write(tmp_path, [entry(0)])
    file = tmp_path / "c.json"
    file.write_text(file.read_text().replace('"annotations": [', '"annotations": [], "annotations": ['))
    with pytest.raises(DatasetError, match="an object has annotations more than once"):
        opened(tmp_path)
    # The word may stand elsewhere.
    write(tmp_path, [entry(0)], info={"description": "annotations", "images": 3})
    assert opened(tmp_path).rows[0]["boxes"] == [[1, 2, 11, 12]]


def test_scores_beside_annotations_are_told(tmp_path):
    write(tmp_path, [entry(0, score=0.8), entry(1, score=0.3), entry(2, score=1.0)])
    assert any("the field score of the annotations holds scores (0.3 to 1)" in w for w in opened(tmp_path).warnings)
