"""Photographs that EXIF turns: the box of a red rectangle lies on the red pixels that the network sees."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError

pytestmark = pytest.mark.usefixtures("own_cache")


def red_box(image):
    pixels = np.asarray(image.convert("RGB")).astype(int)
    rows, columns = np.where((pixels[..., 0] > 150) & (pixels[..., 1] < 100))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@pytest.fixture(params=[3, 6, 8])
def photo(tmp_path, request):
    """An image of 400 × 200 stored pixels and its orientation."""
    image = Image.new("RGB", (400, 200), "white")
    ImageDraw.Draw(image).rectangle((0, 0, 99, 49), fill="red")
    exif = Image.Exif()
    exif[0x0112] = request.param
    (tmp_path / "img").mkdir()
    image.save(tmp_path / "img" / "a.jpg", exif=exif, quality=95)
    return tmp_path / "img" / "a.jpg", request.param


def annotate(photo, kind, shown, sized):
    with Image.open(photo) as image:
        picture = ImageOps.exif_transpose(image) if shown else image
        (x0, y0, x1, y1), (width, height) = red_box(picture), picture.size
    path = photo.parent.parent / f"a.{kind}"
    if kind == "csv":
        size = f",{width},{height}" if sized else ",,"
        path.write_text(f"image,label,x0,y0,x1,y1,width,height\na.jpg,0,{x0},{y0},{x1},{y1}{size}\n")
    else:
        entry = {"id": 1, "file_name": "a.jpg"} | ({"width": width, "height": height} if sized else {})
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        path.write_text(json.dumps({"images": [entry], "annotations": [box], "categories": [{"id": 1, "name": "x"}]}))
    return str(path)


def seen(photo, annotations, **options):
    """Ground-truth box and red pixels at 200 pixels, and the table."""
    table = open_table("folder", photo.parent, annotations=annotations, **options)
    (batch,) = load_batches(table, [0], 200, 1, 0)
    pixels = Image.fromarray(batch.images[0].permute(1, 2, 0).numpy())
    return batch.gt_boxes[0][0], np.array(red_box(pixels)), table


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("sized", [True, False])
def test_boxes_lie_on_the_object(photo, kind, shown, sized):
    path, orientation = photo
    annotations = annotate(path, kind, shown, sized)
    right, wrong = ("apply", "ignore") if shown else ("ignore", "apply")
    box, red, _ = seen(path, annotations, exif=right)
    assert np.abs(box - red).max() <= 2
    if sized and orientation > 4:
        with pytest.raises(DatasetError, match=f"EXIF turns 1 of 1 images.*(?s:.)*pass --option exif={right}"):
            seen(path, annotations, exif=wrong)
    # Without a size, a box that reaches beyond the stored pixels shows it too.
    beyond = shown and not sized and orientation == 8
    if beyond or (shown and sized and orientation > 4):
        with pytest.raises(DatasetError, match="pass --option exif=apply"):
            seen(path, annotations)
    elif not sized:
        assert any(
            "EXIF turns 1 of 1 images; their stored pixels are used" in w for w in seen(path, annotations)[2].warnings
        )


def test_the_choice_is_part_of_the_fingerprint_and_class_folders_tell(photo):
    root = photo[0].parent.parent
    left, turned = (open_table("folder", root, exif=e) for e in ("ignore", "apply"))
    assert left.fingerprint != turned.fingerprint
    assert any("EXIF turns 1 of 1 images" in w for w in open_table("folder", root).warnings)
    (batch,) = load_batches(turned, [0], 200, 1, 0)
    with Image.open(photo[0]) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB").resize((200, 200), Image.Resampling.BILINEAR)
    assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), np.asarray(expected))


def test_annotations_of_both_kinds_are_refused(photo):
    path, orientation = photo
    if orientation < 5:
        pytest.skip("width and height show nothing")
    (path.parent / "b.jpg").write_bytes(path.read_bytes())
    text = "image,label,x0,y0,x1,y1,width,height\na.jpg,0,1,2,30,40,200,400\nb.jpg,0,1,2,30,40,400,200\n"
    (path.parent / "c.csv").write_text(text)
    with pytest.raises(DatasetError, match="1 state the size of the turned picture and 1 that of the stored pixels"):
        open_table("folder", path.parent, annotations="c.csv")


@pytest.mark.parametrize("exif", [None, "ignore", "apply"])
def test_pillow_turns_a_tiff_itself_and_it_is_turned_once(own_cache, tmp_path, exif):
    """Its pixels come turned whatever is chosen; box and size were taken from the stored side."""
    tags = Image.Exif()
    tags[0x0112] = 6
    stored = Image.new("RGB", (400, 200), "white")
    stored.paste((255, 0, 0), (0, 0, 100, 50))
    stored.save(tmp_path / "a.tiff", exif=tags)
    # Shown, it is 200×400 and the red box lies in the right upper corner.
    (tmp_path / "c.csv").write_text("image,label,x0,y0,x1,y1\na.tiff,x,150,0,200,100\n")
    options = {"exif": exif} if exif else {}
    table = open_table("folder", tmp_path, annotations="c.csv", **options)
    (batch,) = load_batches(table, [0], 224, 1, 0)
    pixels = batch.images[0].permute(1, 2, 0).numpy().astype(int)
    ys, xs = np.where((pixels[..., 0] > 150) & (pixels[..., 1] < 100))
    (box,) = batch.gt_boxes[0].tolist()
    assert np.allclose(box, [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1], atol=2)


def test_boxes_that_only_the_stored_pixels_hold_show_it(own_cache, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "c.csv").write_text("image,label,x0,y0,x1,y1\na.jpg,x,10,10,390,190\n")
    assert not open_table("folder", tmp_path, annotations="c.csv").warnings
    with pytest.raises(DatasetError, match="are those of the stored pixels: (?s:.)*exif=ignore") as e:
        open_table("folder", tmp_path, annotations="c.csv", exif="apply")
    assert len(e.value.findings) == 1


def test_boxes_of_the_turned_picture_beside_the_stored_size_are_refused(own_cache, tmp_path):
    """As Label Studio's COCO export has them; with one such box among many it was a warning and a wrong box."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (400, 200)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (400, 200)).save(tmp_path / "b.jpg")
    lines = "b.jpg,x,10,10,90,90,400,200\n" * 20
    text = f"image,label,x0,y0,x1,y1,width,height\na.jpg,x,50,100,150,300,400,200\n{lines}"
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(DatasetError, match="1 state the size of the stored pixels, and their boxes fit into"):
        open_table("folder", tmp_path, annotations="c.csv")
    table = open_table("folder", tmp_path, annotations="c.csv", exif="apply", sizes="files")
    (batch,) = load_batches(table, [0], 200, 1, 0)
    assert batch.gt_boxes[0].tolist() == [[50, 50, 150, 150]]
    assert open_table("folder", tmp_path, annotations="c.csv", exif="ignore").exif == "ignore"
