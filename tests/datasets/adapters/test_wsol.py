"""The generic adapter on wsolevaluation's metadata: the published files, a replica, and damaged ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cambench.datasets.batches.loading import load_batches
from cambench.datasets.findings import Findings
from cambench.datasets.formats.wsol.wsol_metadata import read_metadata
from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError, MissingSplitError
from cambench.registry import UnknownNameError

pytestmark = pytest.mark.usefixtures("own_cache")

PUBLISHED = [
    ("CUB", "train", 5994, 5994, 200),
    ("CUB", "val", 1000, None, 200),
    ("CUB", "test", 5794, 5794, 200),
    ("ILSVRC", "val", 10_000, 18_532, 1000),
    ("ILSVRC", "test", 50_000, 80_477, 1000),
    ("CARS", "train", 8144, 8144, 196),
    ("CARS", "test", 8041, 8041, 196),
]


@pytest.mark.parametrize(("name", "split", "images", "boxes", "classes"), PUBLISHED)
def test_published_metadata_has_the_published_counts(shared_data, name, split, images, boxes, classes):
    findings = Findings()
    meta = read_metadata(shared_data / "wsol_metadata" / name / split, findings)
    assert not findings.of("error")
    assert len(meta.ids) == images
    assert meta.boxes is not None
    assert boxes is None or len(meta.boxes) == boxes
    assert np.array_equal(np.unique(meta.labels), np.arange(classes))


@pytest.mark.parametrize(
    ("split", "images", "masks"), [("train", 29_819, 0), ("val", 2500, 3854), ("test", 5000, 7632)]
)
def test_published_openimages_masks(shared_data, split, images, masks):
    findings = Findings()
    meta = read_metadata(shared_data / "wsol_metadata" / "OpenImages" / split, findings)
    assert not findings.of("error")
    assert len(meta.ids) == images
    assert sum(len(m) for m in meta.masks or []) == masks
    assert meta.widths is None
    if masks:
        assert all(i is not None for i in meta.ignores or [])


def test_real_imagenet_images_squashed_files_and_original_boxes(shared_data):
    root = shared_data / "imagenet_val"
    table = open_table("wsol", root, metadata=root / "metadata")
    assert (len(table), table.num_classes, table.has_boxes) == (96, 1000, True)
    assert table.facts["num_classes_known"] is True
    assert table.class_names[114] == "slug"
    row = table.rows[0]
    assert (row["width"], row["height"], row["boxes"]) == (392, 500, [[131.0, 100.0, 245.0, 381.0]])
    batch = next(load_batches(table, range(4), 224, 4, 2))
    assert batch.labels.tolist()[:3] == [114, 333, 775]
    assert batch.gt_boxes[0].tolist() == [[int(131 * 224 / 392), int(100 * 224 / 500), 140, int(381 * 224 / 500)]]
    assert not batch.failures


def test_replica_rows_boxes_and_warm_start(wsol_replica):
    root, metadata = wsol_replica
    table = open_table("wsol", root, metadata=metadata)
    assert table.rows[0]["boxes"] == [[10, 20, 200, 150], [30, 30, 399, 299]]
    assert table.rows["label"] == [0, 0, 0, 1, 1, 1]
    assert table.facts["num_classes_known"] is False
    assert any("largest label" in n for n in table.notes)
    again = open_table("wsol", root, metadata=metadata)
    assert again.fingerprint == table.fingerprint
    assert again.rows.cache_files == table.rows.cache_files


@pytest.mark.parametrize("layout", ["below images/", "root is the split folder", "suffix differs", "flat"])
def test_images_are_found_in_the_documented_places(wsol_replica, tmp_path, layout):
    root, metadata = wsol_replica
    other = tmp_path / "other"
    if layout == "below images/":
        shutil.move(root, other / "images")
    elif layout == "root is the split folder":
        shutil.move(root / "test", other)
    elif layout == "suffix differs":
        shutil.move(root, other)
        for path in list(other.rglob("*.jpg")):
            path.rename(path.with_suffix(".JPEG"))
    else:
        other.mkdir()
        ids = (metadata / "test" / "image_ids.txt").read_text().splitlines()
        for name in ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt"):
            file = metadata / "test" / name
            file.write_text(file.read_text().replace("a/", "a/a").replace("b/", "b/b"))
        for image_id in ids:
            _, folder, file_name = image_id.split("/")
            shutil.move(root / image_id, other / f"{folder}{file_name}")
    assert len(open_table("wsol", other, metadata=metadata)) == 6


def test_options_name_classes(wsol_replica, tmp_path):
    root, metadata = wsol_replica
    table = open_table("wsol", root, metadata=metadata, num_classes="1000")
    assert (table.num_classes, table.facts["num_classes_known"]) == (1000, True)
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    assert open_table("wsol", root, metadata=metadata, class_names=tmp_path / "names.txt").class_names == ("ant", "bee")
    with pytest.raises(DatasetError, match="labels are outside 0 … 0"):
        open_table("wsol", root, metadata=metadata, num_classes=1)
    with pytest.raises(DatasetError, match="did you mean 'metadata'"):
        open_table("wsol", root, metdata=metadata)


def test_missing_images_stop_a_run_unless_the_user_says_otherwise(wsol_replica):
    root, metadata = wsol_replica
    whole = open_table("wsol", root, metadata=metadata)
    (root / "test/a/1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 of 6 listed images are not on disk: test/a/1\.jpg") as error:
        open_table("wsol", root, metadata=metadata)
    assert "missing=skip" in str(error.value)
    part = open_table("wsol", root, metadata=metadata, missing="skip")
    assert len(part) == 5
    assert part.facts["missing_images"] == 1
    assert part.fingerprint != whole.fingerprint
    assert [len(b) for b in part.rows["boxes"]] == [2, 1, 1, 1, 1]
    assert part.rows[1]["boxes"] == [[12, 20, 200, 152]]


def test_both_readers_agree(shared_data, monkeypatch):
    folder = shared_data / "wsol_metadata" / "ILSVRC" / "val"
    fast, findings = read_metadata(folder, Findings()), Findings()
    monkeypatch.setattr("cambench.datasets.formats.wsol.wsol_columns._read_clean", lambda *_: None)
    slow = read_metadata(folder, findings)
    assert not findings.of("error")
    for name in ("labels", "widths", "heights", "boxes", "box_offsets"):
        assert np.array_equal(getattr(fast, name), getattr(slow, name))


def damage(metadata: Path, file: str, line: int, text: str | None) -> None:
    path = metadata / "test" / file
    lines = path.read_text().splitlines()
    if text is None:
        del lines[line - 1]
    else:
        lines[line - 1 : line] = text.split("\n")
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("class_labels.txt", 3, "test/a/2.jpg", r"class_labels\.txt:3: 'test/a/2\.jpg' is not `path,number`"),
        ("class_labels.txt", 3, "test/a/2.jpg,x", r"class_labels\.txt:3: not a number in 'x'"),
        ("class_labels.txt", 3, "test/a/2.jpg,0.5", r"class_labels\.txt:3: label 0\.5 is not a whole number"),
        ("class_labels.txt", 3, "test/a/2.jpg,-1", r"labels are outside 0 … 1: test/a/2\.jpg has -1"),
        ("class_labels.txt", 3, None, r"class_labels\.txt: 1 ids of image_ids\.txt have no line here: test/a/2\.jpg"),
        ("class_labels.txt", 3, "test/a/2.jpg,0\ntest/a/2.jpg,1", r"class_labels\.txt:4: .* contradicts line 3"),
        ("image_ids.txt", 2, "test/a/0.jpg", r"image_ids\.txt:2: test/a/0\.jpg is already on line 1"),
        ("image_ids.txt", 2, None, r"class_labels\.txt:2: 1 ids are not in image_ids\.txt"),
        ("localization.txt", 2, "test/a/1.jpg,nan,2,3,4", r"localization\.txt:2: not a number in 'nan,2,3,4'"),
        ("localization.txt", 2, "test/a/1.jpg,9,2,3,4", r"end before they start: test/a/1\.jpg"),
        ("localization.txt", 2, "test/a/1.jpg,9,2", r"localization\.txt:2: 'test/a/1\.jpg,9,2' is not"),
        ("localization.txt", 2, None, r"localization\.txt: 1 images have no box: test/a/1\.jpg"),
        ("image_sizes.txt", 2, "test/a/1.jpg,0,300", r"image_sizes\.txt:2: image size .* is not positive"),
        ("image_sizes.txt", 2, "test/a/1.jpg,1e300,300", r"image_sizes\.txt:2: image size .* of no picture"),
        ("class_labels.txt", 2, "test/a/1.jpg,1e300", r"class_labels\.txt:2: label 1e\+300 is not a whole number"),
    ],
)
def test_bad_lines_are_reported_with_file_and_line(wsol_replica, file, line, text, message):
    root, metadata = wsol_replica
    damage(metadata, file, line, text)
    with pytest.raises(DatasetError, match=message):
        open_table("wsol", root, metadata=metadata)


def test_harmless_oddities_are_notes(wsol_replica):
    root, metadata = wsol_replica
    damage(metadata, "class_labels.txt", 3, "test/a/2.jpg,0\ntest/a/2.jpg,0")
    damage(metadata, "localization.txt", 2, "test/a/1.jpg,11,20,200,151\ntest/a/1.jpg,11,20,200,151")
    damage(metadata, "localization.txt", 4, "test/a/2.jpg,11,20,401,151")
    table = open_table("wsol", root, metadata=metadata)
    notes = "\n".join(table.notes)
    assert "repeats line 3" in notes
    assert "1 boxes are listed twice" in notes
    assert "1 of 8 boxes reach outside the image" in notes
    assert len(table.rows[1]["boxes"]) == 2


def test_text_that_is_not_utf8_names_the_line(wsol_replica):
    root, metadata = wsol_replica
    path = metadata / "test" / "image_ids.txt"
    path.write_bytes(path.read_bytes().replace(b"test/a/1.jpg", b"test/a/\xe9.jpg"))
    with pytest.raises(DatasetError, match=r"image_ids\.txt:2: not UTF-8 \(byte 0xe9\)"):
        open_table("wsol", root, metadata=metadata)


def test_wrong_places_say_what_was_expected(wsol_replica, tmp_path):
    root, metadata = wsol_replica
    with pytest.raises(DatasetError, match=r"metadata folder .* does not exist.*pass metadata=DIR"):
        open_table("wsol", root)
    with pytest.raises(MissingSplitError, match="no 'val' split in .* it has the splits test"):
        open_table("wsol", root, "val", metadata=metadata)
    (tmp_path / "sets").mkdir()
    shutil.copytree(metadata, tmp_path / "sets" / "MINE")
    with pytest.raises(DatasetError, match="is the parent of the metadata of MINE"):
        open_table("wsol", root, metadata=tmp_path / "sets")
    with pytest.raises(DatasetError, match="--root is needed"):
        open_table("wsol", None)
    with pytest.raises(DatasetError, match=r"does not exist; .* exists and holds"):
        open_table("wsol", tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no split 'tset'"):
        open_table("wsol", root, "tset")
    with pytest.raises(UnknownNameError, match="did you mean 'wsol'"):
        open_table("wsoll", root)
    assert len(open_table("wsol", root, metadata=metadata / "test")) == 6


def test_masks_per_instance_with_ignore_from_metadata(wsol_replica, png_mask):
    root, metadata = wsol_replica
    ids = (metadata / "test" / "image_ids.txt").read_text().splitlines()
    lines = []
    for i, image_id in enumerate(ids):
        stem = image_id[:-4]
        png_mask(root / f"{stem}_1.png", (40, 30), (5, 5, 20, 20))
        png_mask(root / f"{stem}_ignore.png", (40, 30), (15, 15, 30, 30))
        lines.append(f"{image_id},{stem}_1.png,{stem}_ignore.png")
        if i == 0:
            png_mask(root / f"{stem}_2.png", (40, 30), (30, 5, 38, 12))
            lines.append(f"{image_id},{stem}_2.png,")
    (metadata / "test" / "localization.txt").write_text("\n".join(lines))
    (metadata / "test" / "image_sizes.txt").write_text("")
    table = open_table("wsol", root, metadata=metadata)
    assert (table.has_boxes, table.has_masks) == (False, True)
    assert [len(m) for m in table.rows["masks"]] == [2, 1, 1, 1, 1, 1]
    batch = next(load_batches(table, range(6), 60, 6, 2))
    assert batch.masks is not None
    first, second = batch.masks[0].numpy(), batch.masks[1].numpy()
    assert (first[20, 50], second[20, 50]) == (1, 0)
    assert (first[36, 27], first[50, 40], first[2, 2]) == (1, 255, 0)
    (root / "test/a/0_2.png").unlink()
    with pytest.raises(DatasetError, match="1 of 13 masks are not on disk"):
        open_table("wsol", root, metadata=metadata)


def test_rows_in_pieces_are_the_rows(wsol_replica, monkeypatch):
    root, metadata = wsol_replica
    whole = open_table("wsol", root, metadata=metadata)
    monkeypatch.setattr("cambench.datasets.formats.wsol.wsol_reader.CHUNK", 4)
    pieces = open_table("wsol", root, metadata=metadata, refresh=True)
    for column in ("image_id", "label", "width", "height", "boxes", "image"):
        assert pieces.rows[column] == whole.rows[column]
    damage(metadata, "localization.txt", 2, "test/a/1.jpg,11,20,401,151")
    damage(metadata, "localization.txt", 5, "test/b/1.jpg,11,20,402,151")
    notes = "\n".join(open_table("wsol", root, metadata=metadata).notes)
    assert notes.count("reach outside") == 1
    assert "2 of 7 boxes reach outside the image" in notes


def test_fractions_are_not_taken_for_pixels(wsol_replica):
    root, meta = wsol_replica
    path = meta / "test" / "localization.txt"
    lines = [line.rsplit(",", 4)[0] + ",0.1,0.2,0.8,0.9" for line in path.read_text().splitlines()]
    path.write_text("\n".join(dict.fromkeys(lines)))
    with pytest.raises(DatasetError, match=r"localization\.txt: all coordinates lie between 0 and 1: fractions"):
        open_table("wsol", root, metadata=str(meta))


def test_lists_in_a_folder_whose_name_is_not_utf8(wsol_replica):
    root, meta = wsol_replica
    right = open_table("wsol", root, metadata=str(meta)).rows["boxes"][:]
    named = meta.rename(meta.parent / "m\udcff")
    assert open_table("wsol", root, metadata=str(named)).rows["boxes"][:] == right


def with_masks(root, metadata, sizes, blank=()):
    """A mask an image; ``sizes``: of the masks, by position."""
    ids = (metadata / "test" / "image_ids.txt").read_text().splitlines()
    for i, image_id in enumerate(ids):
        picture = np.zeros(sizes[i][::-1], np.uint8)
        picture[5:20, 5:20] = 0 if i in blank else 255
        Image.fromarray(picture).save(root / f"{image_id[:-4]}_mask.png")
    lines = "".join(f"{image_id},{image_id[:-4]}_mask.png,\n" for image_id in ids)
    (metadata / "test" / "localization.txt").write_text(lines)
    (metadata / "test" / "image_sizes.txt").write_text("")
    return ids


def test_blank_masks_are_told(wsol_replica):
    root, metadata = wsol_replica
    wide = Image.open(root / (metadata / "test" / "image_ids.txt").read_text().split()[0]).size
    ids = with_masks(root, metadata, [wide] * 6, blank=(2, 4))
    (warning,) = open_table("wsol", root, metadata=metadata).warnings
    assert (
        warning
        == f"2 mask files hold no pixel of an object, so all of their pictures counts as background: {ids[2]}, {ids[4]}"
    )


def test_masks_that_lie_turned_are_told_or_refused(wsol_replica):
    root, metadata = wsol_replica
    names = (metadata / "test" / "image_ids.txt").read_text().split()
    sizes = [Image.open(root / name).size for name in names]
    assert all(w != h for w, h in sizes)
    ids = with_masks(root, metadata, [sizes[0][::-1], *sizes[1:]])
    (warning,) = open_table("wsol", root, metadata=metadata).warnings
    assert warning == f"1 of 6 mask files have width and height of their picture exchanged: {ids[0]}"
    with_masks(root, metadata, [size[::-1] for size in sizes])
    with pytest.raises(DatasetError, match="6 of 6 mask files have width and height of their picture exchanged"):
        open_table("wsol", root, metadata=metadata, refresh=True)
