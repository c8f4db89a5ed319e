"""Decoding, resizing and batching against torchvision, OpenCV and the evaluator's own arithmetic."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from sample_tables import table_of
from torchvision.transforms import functional as tvf

from cambench.datasets.batches.geometry import combine_masks, nearest_indices, resize_boxes
from cambench.datasets.batches.images import UnreadableImageError, open_picture, to_rgb
from cambench.datasets.batches.loading import load_batches


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(227, 227), (500, 375), (100, 640), (64, 64)])
def test_pixels_equal_torchvisions_pil_resize(tmp_path, jpeg, mode, size):
    path = jpeg(tmp_path / "x.jpg", size, mode)
    (batch,) = load_batches(table_of([path]), [0], 64, 4, 1)
    with Image.open(path) as image:
        expected = tvf.pil_to_tensor(tvf.resize(image.convert("RGB"), [64, 64], antialias=True))
    assert batch.images.dtype == torch.uint8
    assert torch.equal(batch.images[0], expected)


def test_exif_orientation_is_not_applied(tmp_path, jpeg):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = jpeg(tmp_path / "turned.jpg", exif=exif.tobytes())
    plain = jpeg(tmp_path / "plain.jpg")
    batch = next(load_batches(table_of([turned, plain]), range(2), 32, 2, 0))
    assert torch.equal(batch.images[0], batch.images[1])


def test_sixteen_bit_grey_keeps_its_high_byte_and_alpha_and_palette_are_converted(tmp_path):
    values = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "deep.png")
    rgb = np.asarray(to_rgb(open_picture({"bytes": None, "path": str(tmp_path / "deep.png")})))
    assert np.array_equal(rgb[..., 1], (values >> 8).astype(np.uint8))
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 4), dtype=np.uint8)
    Image.fromarray(colours, "RGBA").save(tmp_path / "alpha.png")
    rgb = np.asarray(to_rgb(open_picture({"bytes": None, "path": str(tmp_path / "alpha.png")})))
    assert np.array_equal(rgb, colours[..., :3])
    Image.fromarray(colours[..., :3]).quantize(16).save(tmp_path / "palette.png")
    image = open_picture({"bytes": None, "path": str(tmp_path / "palette.png")})
    assert image.mode == "P"
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(image.convert("RGB")))


def test_unreadable_images_are_named_failures_and_in_no_tensor(tmp_path, jpeg):
    good = [jpeg(tmp_path / f"{i}.jpg", seed=i) for i in range(3)]
    cut, empty, text = tmp_path / "cut.jpg", tmp_path / "empty.jpg", tmp_path / "text.jpg"
    cut.write_bytes(good[0].read_bytes()[:-300])
    empty.write_bytes(b"")
    text.write_text("<html>not found</html>")
    paths = [good[0], cut, good[1], empty, text, tmp_path / "gone.jpg", good[2]]
    batches = list(load_batches(table_of(paths), range(7), 32, 3, 2))
    assert [b.image_ids for b in batches] == [("0:0.jpg", "2:1.jpg"), (), ("6:2.jpg",)]
    assert [tuple(b.images.shape) for b in batches] == [(2, 3, 32, 32), (0, 3, 32, 32), (1, 3, 32, 32)]
    assert [b.index.tolist() for b in batches] == [[0, 2], [], [6]]
    failures = {f.image_id: f for b in batches for f in b.failures}
    assert {f.index for f in failures.values()} == {1, 3, 4, 5}
    assert "truncated" in failures["1:cut.jpg"].reason
    assert "empty file" in failures["3:empty.jpg"].reason
    assert "not an image" in failures["4:text.jpg"].reason
    assert "no such file" in failures["5:gone.jpg"].reason


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_order_and_content_do_not_depend_on_workers(tmp_path, jpeg, workers):
    paths = [jpeg(tmp_path / f"{i}.jpg", (30 + i, 40), seed=i) for i in range(11)]
    rows = [10, 3, 4, 0, 7, 1, 2]
    whole = torch.cat([b.images for b in load_batches(table_of(paths), rows, 24, 3, workers)])
    single = torch.cat([next(load_batches(table_of(paths), [r], 24, 1, 0)).images for r in rows])
    assert torch.equal(whole, single)


def test_closing_the_iterator_early_stops_the_work(tmp_path, jpeg):
    paths = [jpeg(tmp_path / f"{i}.jpg", seed=i) for i in range(12)]
    batches = load_batches(table_of(paths), range(12), 24, 2, 2)
    assert next(batches).image_ids == ("0:0.jpg", "1:1.jpg")
    batches.close()
    assert list(batches) == []


def test_bytes_in_the_table_and_wrong_arguments(tmp_path, jpeg):
    path = jpeg(tmp_path / "a.jpg")
    table = table_of([path], image=[{"bytes": path.read_bytes(), "path": None}])
    assert torch.equal(
        next(load_batches(table, [0], 32, 1, 0)).images, next(load_batches(table_of([path]), [0], 32, 1, 0)).images
    )
    with pytest.raises(ValueError, match="batch_size"):
        next(load_batches(table, [0], 32, 0, 0))


def test_boxes_are_truncated_by_the_evaluators_rule(tmp_path, jpeg):
    def published(box, width, height, size):
        x0, y0, x1, y1 = map(float, box)
        return [int(x0 * size / width), int(y0 * size / height), int(x1 * size / width), int(y1 * size / height)]

    rng = np.random.default_rng(1)
    for _ in range(300):
        width, height = (int(v) for v in rng.integers(20, 900, 2))
        boxes = rng.uniform(-3, 900, (3, 4)).round(1)
        expected = [published(b, width, height, 224) for b in boxes.tolist()]
        assert resize_boxes(boxes, width, height, 224).tolist() == expected
    path = jpeg(tmp_path / "a.jpg", (50, 40))
    stated = table_of([path], width=[500], height=[400], boxes=[[[100.0, 100.0, 499.0, 399.0]]])
    assert next(load_batches(stated, [0], 224, 1, 0)).gt_boxes[0].tolist() == [[44, 56, 223, 223]]
    unstated = table_of([path], boxes=[[[10.0, 10.0, 49.0, 39.0], [0.0, 0.0, 25.0, 20.0]]])
    assert next(load_batches(unstated, [0], 224, 1, 0)).gt_boxes[0].tolist() == [[44, 56, 219, 218], [0, 0, 112, 112]]


@pytest.mark.parametrize("size", [224, 64, 100])
def test_nearest_neighbour_is_opencvs(size):
    for length in [1, 2, 63, 64, 65, 78, 100, 176, 224, 260, 333, 375, 500, 683, 768, 1024, 1600, 4000]:
        ramp = np.arange(length, dtype=np.float32)[None].repeat(2, 0)
        expected = cv2.resize(ramp, (size, 2), interpolation=cv2.INTER_NEAREST)[0].astype(int)
        assert np.array_equal(nearest_indices(length, size), expected)


def test_masks_follow_the_published_rule(tmp_path, jpeg, png_mask):
    rng = np.random.default_rng(2)
    raw = [(rng.random((70, 90)) > 0.6).astype(np.uint8) * 255 for _ in range(3)]

    def published(path):
        mask = np.float32(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
        return cv2.resize(mask, (48, 48), interpolation=cv2.INTER_NEAREST) > 0.5

    files = []
    for i, mask in enumerate(raw):
        files.append(tmp_path / f"m{i}.png")
        Image.fromarray(np.dstack([mask, mask, mask, np.full_like(mask, 255)]) if i == 1 else mask).save(files[-1])
    foreground = published(files[0]) | published(files[1])
    expected = foreground.astype(np.uint8) + 255 * (published(files[2]) & ~foreground).astype(np.uint8)
    pictures = [{"bytes": None, "path": str(f)} for f in files]
    image = jpeg(tmp_path / "a.jpg", (90, 70))
    table = table_of([image], masks=[pictures[:2]], ignore=[pictures[2]], evidence=[pictures[0]])
    batch = next(load_batches(table, [0], 48, 1, 0))
    assert batch.masks is not None
    assert np.array_equal(batch.masks[0].numpy(), expected)
    assert set(np.unique(expected)) == {0, 1, 255}
    assert batch.evidence is not None
    assert np.array_equal(batch.evidence[0].numpy(), published(files[0]))
    assert next(load_batches(table, [0], 48, 1, 0, masks=False)).masks is None
    assert np.array_equal(combine_masks(raw[:1], None, 48), published(files[0]).astype(np.uint8))


def test_a_damaged_mask_is_a_failure_of_its_image(tmp_path, jpeg):
    (tmp_path / "m.png").write_bytes(b"junk")
    table = table_of([jpeg(tmp_path / "a.jpg")], masks=[[{"bytes": None, "path": str(tmp_path / "m.png")}]])
    batch = next(load_batches(table, [0], 32, 1, 0))
    assert len(batch) == 0
    assert "mask" in batch.failures[0].reason


def test_float_images_have_no_colours():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.float32)).save(buffer, "TIFF")
    with pytest.raises(UnreadableImageError, match="floating-point"):
        to_rgb(open_picture({"bytes": buffer.getvalue(), "path": None}))


@pytest.mark.parametrize("quality", [30, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_the_decoder_gives_the_bits_of_torchvisions_fast_decoder(tmp_path, jpeg, quality, subsampling):
    """Both are libjpeg-turbo: Pillow's decoding is the fast one, so no inexact shortcut is taken."""
    from torchvision.io import ImageReadMode, decode_jpeg, read_file

    path = jpeg(tmp_path / "x.jpg", (301, 203), quality=quality, subsampling=subsampling)
    ours = np.asarray(to_rgb(open_picture({"bytes": None, "path": str(path)})))
    assert np.array_equal(ours, decode_jpeg(read_file(str(path)), ImageReadMode.RGB).permute(1, 2, 0).numpy())


def test_the_crop_is_torchvisions_and_boxes_and_masks_move_with_it(tmp_path, jpeg, png_mask):
    """Rethinking CAM: 256×256, its central 224×224, and a box's coordinates x / W · 256 − 16 within the crop."""
    path = jpeg(tmp_path / "a.jpg", (500, 400))
    boxes = [
        [100.0, 100.0, 499.0, 399.0],
        [0.0, 0.0, 250.0, 200.0],
        [0.0, 10.0, 20.0, 30.0],
        [480.0, 0.0, 499.0, 399.0],
    ]
    spot = np.zeros((400, 500), np.uint8)
    spot[100:300, 250:400] = 255
    Image.fromarray(spot).save(tmp_path / "m.png")
    picture = {"bytes": None, "path": str(tmp_path / "m.png")}
    table = table_of([path], boxes=[boxes], masks=[[picture]], evidence=[picture])
    batch = next(load_batches(table, [0], 224, 1, 1, crop_from=256))
    # 100/500·256 − 16 = 35.2; 100/400·256 − 16 = 48; 499/500·256 − 16 = 239.488, clipped to 223; and so on.
    assert batch.gt_boxes[0].tolist() == [
        *([35, 48, 223, 223], [0, 0, 112, 112]),
        # Outside the crop on the left, and on the right: a line at its edge.
        *([0, 0, 0, 3], [223, 0, 223, 223]),
    ]
    with Image.open(path) as image:
        resized = tvf.resize(image.convert("RGB"), [256, 256])
        expected = np.asarray(tvf.center_crop(resized, [224, 224]))
    assert np.array_equal(batch.images[0].permute(1, 2, 0).numpy(), expected)
    assert batch.masks is not None
    assert batch.evidence is not None
    rows, columns = batch.masks[0].numpy().nonzero()
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (112, 189, 48, 176)
    assert np.array_equal(batch.evidence[0].numpy(), batch.masks[0].numpy() == 1)
    plain, whole = (next(load_batches(table, [0], 224, 1, 0, crop_from=s)).images for s in (None, 224))
    assert torch.equal(plain, whole)
